// The library in a page: trains, resumes and writes by one call each, on the page's main thread.
import { generate, train } from "../../../src/index.ts";

declare global {
  var trainByCalls: (steps: number) => Promise<{ events: string[]; losses: number[]; text: string; resumed: number }>;
}

const NAMES = ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "model.safetensors"];

globalThis.trainByCalls = async (steps) => {
  const model = await Promise.all(
    NAMES.map(async (name) => new File([await (await fetch(`assets/tiny/${name}`)).blob()], name)),
  );
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
