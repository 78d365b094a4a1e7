// The library in a page: trains, resumes and writes by one call each, on the page's main thread.
import { generate, train } from "../../../src/index.ts";
import { siteFolder } from "../../../src/platform/browser/place.ts";

declare global {
  var trainByCalls: (steps: number) => Promise<{ events: string[]; losses: number[]; text: string; resumed: number }>;
  var trainOnMixture: () => Promise<{ rows: number; losses: number[]; refused: string[] }>;
  var trainOnImages: (names: readonly string[]) => Promise<{ losses: number[] }>;
  var trainByJudge: () => Promise<{ asked: (string | null)[]; rewards: number[]; refused: string[] }>;
}

const BRIEF = {
  lora_r: 4,
  max_steps: 1,
  per_device_train_batch_size: 2,
  logging_steps: 1,
  save_strategy: "no",
} as const;
const filesOf = (folder: string, names: readonly string[]) =>
  Promise.all(names.map(async (name) => new File([await (await fetch(`${folder}/${name}`)).blob()], name)));
const messageOf = async (stream: AsyncIterable<unknown>): Promise<string> => {
  try {
    for await (const _ of stream);
    return "nothing";
  } catch (error) {
    return `${(error as Error).name}: ${(error as Error).message}`;
  }
};

const NAMES = ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "model.safetensors"];

globalThis.trainByCalls = async (steps) => {
  const model = await filesOf("assets/tiny", NAMES);
  const rows = Array.from({ length: 8 }, (_, i) => ({ prompt: `What is ${i}+1?`, completion: `${i}+1=${i + 1}` }));
  const data = new File([rows.map((row) => `${JSON.stringify(row)}\n`).join("")], "sums.jsonl");
  const recipe = {
    lora_r: 4,
    max_steps: steps,
    per_device_train_batch_size: 2,
    logging_steps: 1,
    save_strategy: "no",
  } as const;
  const call = { method: "sft", model, data, recipe, output: "runs/first" } as const;
  const events: string[] = [];
  const losses: number[] = [];
  for await (const event of train(call)) {
    if (!events.includes(event.type)) events.push(event.type);
    if (event.type !== "log") continue;
    losses.push(event.record.loss);
    if (event.record.step === 1) break; // a checkpoint stays in the site's storage
  }
  let resumed = 0;
  for await (const event of train({ ...call, resume: true })) {
    if (event.type === "start") resumed = event.global_step;
    if (event.type === "log") losses.push(event.record.loss);
  }
  let text = "";
  for await (const event of generate({ model, adapter: "runs/first", prompt: "What is 1+1?", max_new_tokens: 4 })) {
    if (event.type === "response") text = event.made.text;
  }
  return { events, losses, text, resumed };
};

// `datasets` of files in the site's storage, with a slice and a share each.
globalThis.trainOnMixture = async () => {
  const model = await filesOf("assets/tiny", NAMES);
  const lines = (from: number) =>
    Array.from(
      { length: 8 },
      (_, i) => `${JSON.stringify({ prompt: `${from + i}+1?`, completion: `${from + i + 1}` })}\n`,
    );
  const folder = siteFolder("data");
  await folder.write("low.jsonl", lines(0).join(""));
  await folder.write("high.jsonl", lines(100).join(""));
  const datasets = [
    { path: "data/low.jsonl", split: "train[:4]", fraction: 0.5 },
    { path: "data", data_files: ["high.*"], fraction: 0.5 },
  ];
  let rows = 0;
  const losses: number[] = [];
  for await (const event of train({ method: "sft", model, recipe: { ...BRIEF, datasets }, output: "runs/mixed" })) {
    if (event.type === "plan") rows = event.rows;
    if (event.type === "log") losses.push(event.record.loss);
  }
  const wrong = { ...BRIEF, datasets: [{ path: "data/none here.jsonl" }] };
  const refused = [await messageOf(train({ method: "sft", model, recipe: wrong, output: "runs/none" }))];
  return { rows, losses, refused };
};

// Rows with images as data URLs, for a model with a vision tower.
globalThis.trainOnImages = async (names) => {
  const model = await filesOf("seeing", names);
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
  const data = ["red", "blue"].map((colour) => {
    const context = canvas.getContext("2d")!;
    context.fillStyle = colour;
    context.fillRect(0, 0, 64, 64);
    const content = [
      { type: "image", image: canvas.toDataURL("image/png") },
      { type: "text", text: "Which?" },
    ];
    return {
      messages: [
        { role: "user", content },
        { role: "assistant", content: colour },
      ],
    };
  });
  const losses: number[] = [];
  for await (const event of train({ method: "sft", model, data, recipe: BRIEF, output: "runs/seen" })) {
    if (event.type === "log") losses.push(event.record.loss);
  }
  return { losses };
};

// GRPO with a judge; what a page cannot do says so.
globalThis.trainByJudge = async () => {
  const model = await filesOf("assets/tiny", NAMES);
  const data = [{ prompt: "What is 1+1?" }, { prompt: "What is 2+1?" }];
  const asked: (string | null)[] = [];
  const plain = fetch;
  let score = 0;
  globalThis.fetch = (input, init) => {
    if (!String(input).startsWith("http://judge.test/v1/")) return plain(input, init);
    asked.push(new Headers(init?.headers).get("authorization"));
    return Promise.resolve(Response.json({ choices: [{ message: { content: `Score: ${score++ % 10}` } }] }));
  };
  const recipe = {
    ...BRIEF,
    num_generations: 2,
    max_completion_length: 4,
    reward_funcs: ["judge"],
    judge_url: "http://judge.test/v1",
    judge_model: "grader",
  };
  const call = { method: "grpo", model, data, output: "runs/judged" } as const;
  const rewards: number[] = [];
  for await (const event of train({ ...call, recipe, judge_key: "sk-1" })) {
    if (event.type === "log") rewards.push(Number(event.record.reward));
  }
  const with_ = (reward: string) =>
    train({ ...call, recipe: { ...recipe, reward_funcs: [reward] }, output: "runs/no" });
  const refused = [await messageOf(with_("./mine.js:exact")), await messageOf(with_("code_reward"))];
  return { asked, rewards, refused };
};
