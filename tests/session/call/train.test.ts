import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { evaluate, exportModel, generate, memoryFolder, type TrainCall, train } from "../../../src/headless.ts";
import { readAdapter } from "../../../src/io/peft.ts";
import { readTimedMetrics } from "../../../src/session/run-log.ts";

const tiny = fileURLToPath(new URL("../../../assets/tiny", import.meta.url));
const root = mkdtempSync(join(tmpdir(), "qwench-call-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const rows = Array.from({ length: 8 }, (_, i) => ({ prompt: `What is ${i}+1?`, completion: `${i}+1=${i + 1}` }));
const recipe = { lora_r: 4, max_steps: 3, per_device_train_batch_size: 2, logging_steps: 1, learning_rate: 1e-3 };
const sft = (more: Partial<TrainCall<"sft">>): TrainCall<"sft"> => ({
  method: "sft",
  model: tiny,
  data: rows,
  recipe,
  ...more,
});

async function eventsOf<E>(events: AsyncIterable<E>): Promise<E[]> {
  const all: E[] = [];
  for await (const event of events) all.push(event);
  return all;
}

describe("what a call refuses, before it opens a GPU", () => {
  test.each<[string, TrainCall, RegExp]>([
    ["an unknown field", sft({ recipe: { lora_rank: 4 } as never }), /lora_rank.*did you mean/s],
    ["no rows", { method: "sft", model: tiny } as TrainCall<"sft">, /dataset_name is missing/],
    ["rewards for sft", sft({ rewards: [{ name: "x", reward: () => [] }] }), /rewards are for grpo, not for sft/],
    ["no reward", { method: "grpo", model: tiny, data: rows } as TrainCall<"grpo">, /reward_funcs is missing/],
    [
      "a reward that nothing names",
      {
        method: "grpo",
        model: tiny,
        data: rows,
        rewards: [{ name: "mine", reward: () => [] }],
        recipe: { reward_funcs: ["int_reward_func"] },
      },
      /rewards has mine, but reward_funcs does not name it/,
    ],
    [
      "a reward without a name",
      { method: "grpo", model: tiny, data: rows, rewards: [(() => () => [])()] },
      /A reward function has no name/,
    ],
    ["evaluation rows that are never used", sft({ eval: rows }), /eval_strategy is no: set it to steps or epoch/],
    ["evaluation without rows", sft({ recipe: { eval_strategy: "epoch" } }), /there are no rows for it/],
    ["a missing model", sft({ model: "./nowhere" }), /there is no such file or folder/],
    ["a missing checkpoint", sft({ resume: true, output: memoryFolder("empty") }), /empty/],
  ])("%s", async (_, call, message) => {
    await expect(eventsOf(train({ output: memoryFolder("out"), ...call }))).rejects.toThrow(message);
  });
});

test("trains on rows, refuses to replace the run, stops and resumes with a checkpoint", async () => {
  const output = join(root, "run");
  const whole = await eventsOf(train(sft({ output: memoryFolder() })));
  expect(whole.map(({ type }) => type)).toEqual(expect.arrayContaining(["progress", "plan", "start", "log", "end"]));
  const plan = whole.find(({ type }) => type === "plan");
  expect(plan).toMatchObject({ rows: 8, max_steps: 3, global_step: 0 });

  const stop = new AbortController();
  const stopped = (async () => {
    for await (const event of train(sft({ output, signal: stop.signal }))) {
      if (event.type === "log" && event.record.step === 1) stop.abort();
    }
  })();
  await expect(stopped).rejects.toMatchObject({ name: "AbortError" });
  await expect(eventsOf(train(sft({ output })))).rejects.toThrow(/it holds checkpoint-\d of another run/);

  const rest = await eventsOf(train(sft({ output, resume: true })));
  expect(rest.find(({ type }) => type === "plan")).toMatchObject({ global_step: expect.any(Number) });
  const losses = (events: typeof whole) =>
    events.flatMap((event) => (event.type === "log" ? [[event.record.step, event.record.loss]] : []));
  const logs = readTimedMetrics(readFileSync(join(output, "metrics.jsonl"), "utf8"), "m");
  expect(logs.map(({ record }) => [record.step, record.loss])).toEqual(losses(whole));
  expect(logs.every(({ time, elapsed }) => time !== null && elapsed !== null)).toBe(true);
  expect(logs[2].elapsed).toBeGreaterThanOrEqual(logs[0].elapsed!);
});

test("trains by a function and a registered reward, on a file at an address; leaving the loop saves", async () => {
  const text = [1, 2, 3, 4].map((i) => JSON.stringify({ prompt: `What is ${i}+1?`, answer: String(i + 1) })).join("\n");
  const server = createServer((_, response) => response.end(`${text}\n`));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const output = memoryFolder("grpo");
  const scored: number[] = [];
  function digits(_prompts: readonly unknown[], completions: readonly unknown[]) {
    scored.push(completions.length);
    return completions.map((completion) => (/\d/.test(JSON.stringify(completion)) ? 1 : 0));
  }
  try {
    const events = train({
      method: "grpo",
      model: tiny,
      data: `http://127.0.0.1:${port}/problems.jsonl?v=1`,
      rewards: [digits],
      recipe: {
        ...{ reward_funcs: ["int_reward_func", "digits"], num_generations: 2, per_device_train_batch_size: 4 },
        ...{ max_steps: 3, max_completion_length: 4, lora_r: 4, logging_steps: 1 },
      },
      output,
    });
    for await (const event of events) {
      if (event.type !== "log") continue;
      expect(event.record["rewards/digits/mean"]).toBeGreaterThanOrEqual(0);
      break;
    }
  } finally {
    server.close();
  }
  expect(scored[0]).toBe(4);
  expect((await output.folders()).some((name) => /^checkpoint-\d$/.test(name))).toBe(true);
  expect(await output.folder("completions").list()).toContain("completions_00001.jsonl");
});

test("evaluates, writes and exports by one call each, with the adapter's own base", async () => {
  const output = memoryFolder("adapter");
  await eventsOf(train(sft({ output, recipe: { ...recipe, max_steps: 1, save_strategy: "no" } })));
  expect((await readAdapter(output)).config.base_model_name_or_path).toBe(tiny);

  const problems = [{ question: "What is 1+1?", answer: "2" }, { question: "What is 2+1?", answer: "3" }]; // biome-ignore format: a table
  const evaluated = await eventsOf(evaluate({ adapter: output, data: problems, n: 2, temperature: 1, max_tokens: 8 }));
  expect(evaluated.filter(({ type }) => type === "problem")).toHaveLength(2);
  const last = evaluated.at(-1)!;
  expect(last).toMatchObject({
    type: "end",
    results: { dataset: "data", total_problems: 2, n_sampling: 2, max_tokens: 8 },
  });
  expect(last.type === "end" && Object.keys(last.results.pass_at)).toEqual(["1", "2"]);
  await expect(eventsOf(evaluate({ model: tiny, data: problems, k: [3] }))).rejects.toThrow(/from 1 to n \(1\), got 3/);

  const ask = { adapter: output, max_new_tokens: 6, temperature: 0 } as const;
  const made = await eventsOf(
    generate({ ...ask, prompt: ["What is 1+1?", [{ role: "user", content: "What is 2+1?" }]] }),
  );
  const texts = made.flatMap((event) => (event.type === "response" ? [event.made.text] : []));
  expect(texts).toHaveLength(2);
  expect(made.at(-1)).toMatchObject({ type: "end", prompts: 2, responses: 2 });
  const one = await eventsOf(generate({ ...ask, prompt: "What is 1+1?" }));
  expect(one.flatMap((event) => (event.type === "response" ? [event.made.text] : []))).toEqual([texts[0]]);
  await expect(eventsOf(generate({ model: tiny }))).rejects.toThrow(/needs a prompt or data, got neither/);

  const exported = memoryFolder("exported");
  const written = await eventsOf(exportModel({ adapter: output, format: "lora", output: exported }));
  expect(written.find(({ type }) => type === "check")).toMatchObject({ passed: true });
  expect(await exported.list()).toEqual(expect.arrayContaining(["adapter_config.json", "adapter_model.safetensors"]));
  await expect(eventsOf(exportModel({ adapter: output, format: "lora", output: exported }))).rejects.toThrow(
    /it holds/,
  );
});
