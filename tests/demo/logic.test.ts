import { describe, expect, test } from "vitest";
import { words } from "../../demo/format.ts";
import { type Draft, embeddedJob, jobOf, nameOf, presetsFor } from "../../demo/jobs.ts";
import { problemOf, webgpuAdvice } from "../../demo/problems.ts";
import { Run } from "../../demo/run.ts";
import type { Evaluation, LogRecord, Preset, RunEvent, RunRecord } from "../../src/client/types.ts";
import { MemoryError, QuotaError } from "../../src/errors.ts";
import { CHARTS } from "../../src/report/metrics.ts";
import { rewardName } from "../../src/report/names.ts";
import { extent, thin, ticks } from "../../src/report/scale.ts";

// What the page works out without a document.

test("names as words", () => {
  expect(words("lora_target_modules")).toBe("LoRA target modules");
  expect(rewardName("soft_format_reward_func")).toBe("soft format");
});

describe("axes", () => {
  test("ticks are round and within the ends", () => {
    expect(ticks(0, 1, 4)).toEqual([0, 0.5, 1]);
    expect(ticks(0.13, 0.61, 3)).toEqual([0.2, 0.4, 0.6]);
    expect(ticks(5, 5, 3)).toEqual([5]);
  });
  test("an axis that nearly reaches 0 reaches it; a flat line has room", () => {
    expect(extent([0.1, 1])[0]).toBe(0);
    expect(extent([10, 11])[0]).toBeGreaterThan(9);
    expect(extent([2, 2, Number.NaN])).toEqual([1.8, 2.2]);
    expect(extent([])).toEqual([0, 1]);
  });
  test("thinning keeps spikes", () => {
    const points = Array.from({ length: 5000 }, (_, i) => [i, i === 2345 ? 99 : 0] as const);
    const kept = thin(points, 200);
    expect(kept.length).toBeLessThanOrEqual(200);
    expect(kept).toContainEqual([2345, 99]);
  });
});

test("tokens per second: as logged, else from tokens and seconds between logs", () => {
  const speed = (logs: { step: number; [name: string]: number }[]) =>
    CHARTS.find(({ id }) => id === "speed")!.series(logs)[0].points;
  expect(speed([{ step: 1, tokens_per_second: 70 }])).toEqual([[1, 70]]);
  const logs: LogRecord[] = [
    { step: 2, num_tokens: 400, step_time: 2 },
    { step: 2, eval_reward: 1, num_tokens: 400 },
    { step: 4, num_tokens: 1000, step_time: 1 },
  ];
  expect(speed(logs)).toEqual([
    [2, 100],
    [4, 300],
  ]);
});

describe("a job", () => {
  const preset = (id: string, model: "embedded" | null, method: "sft" | "grpo"): Preset => ({
    id,
    name: id,
    help: "",
    method,
    model,
    recipe: { id },
  });
  const presets = [preset("any", null, "sft"), preset("own", "embedded", "sft"), preset("own2", "embedded", "grpo")];
  const draft: Draft = {
    name: " ",
    model: { kind: "hub", id: "Qwen/Qwen2.5-0.5B" },
    data: { kind: "embedded" },
    method: "both",
    recipes: { sft: { lora_r: 4 }, grpo: {}, dpo: {} },
    evaluate: null,
  };

  test("of what was chosen: a phase a method, each with its own rows", () => {
    const job = jobOf(draft);
    expect(job).toEqual({
      name: "Qwen2.5-0.5B on word problems",
      model: draft.model,
      phases: [
        { method: "sft", data: { kind: "embedded", rows: "sft" }, recipe: { lora_r: 4 } },
        { method: "grpo", data: { kind: "embedded", rows: "prompts" }, recipe: {} },
      ],
      evaluate: null,
    });
  });
  test("says what is missing", () => {
    expect(jobOf({ ...draft, model: null })).toBe("Choose a model.");
    expect(jobOf({ ...draft, data: null })).toBe("Choose the data to train on.");
  });
  test("of the first button has the embedded model's presets; another model has its own", () => {
    expect(embeddedJob(presets).phases.map(({ recipe }) => recipe.id)).toEqual(["own", "own2"]);
    expect(presetsFor(presets, "sft", "hub").map(({ id }) => id)).toEqual(["any"]);
    expect(nameOf({ kind: "embedded" }, { kind: "hub", id: "openai/gsm8k" })).toBe("embedded model on gsm8k");
  });
});

describe("a run", () => {
  const record = (): RunRecord => ({
    id: "1",
    name: "One",
    created: 0,
    status: "running",
    problem: null,
    phase: 0,
    phases: [
      { method: "sft", max_steps: null, global_step: 0 },
      { method: "grpo", max_steps: null, global_step: 0 },
    ],
    model: "m",
    data: "d",
    accuracy: null,
    job: { name: "One", model: { kind: "embedded" }, phases: [], evaluate: null },
    recipes: [],
    logs: [[], []],
    completions: [],
    evaluations: [],
  });
  const plan = {
    method: "sft",
    memory: { peak: 1, byKind: {} },
    trainable: 1,
    parameters: 1,
    rows: 1,
    max_steps: 10,
    notes: [],
  } as const;
  const phase = (global_step: number) =>
    ({ type: "phase", phase: 0, method: "sft", max_steps: 10, global_step, plan: { ...plan, notes: [] } }) as RunEvent;
  const step = (n: number): RunEvent => ({ type: "step", phase: 0, step: n, tokens: 1, loss: 1, reward: null });
  const log = (n: number): RunEvent => ({ type: "log", phase: 0, record: { step: n, loss: 1 } });

  test("that goes on from a checkpoint makes the steps after it again, once", () => {
    const run = new Run(record());
    for (const event of [phase(0), step(1), log(1), step(2), log(2), step(3), log(3)]) run.take(event);
    for (const event of [phase(2), step(3), log(3)]) run.take(event);
    expect(run.record.logs[0].map((one) => one.step)).toEqual([1, 2, 3]);
    expect(run.saved).toBe(2);
  });

  test("knows the time left from the median of its steps, not from the one that compiled", () => {
    const run = new Run(record());
    run.take(phase(0), 0);
    run.take(step(1), 60_000);
    expect(run.secondsLeft(60_000)).toBeNull();
    run.take(step(2), 61_000);
    run.take(step(3), 62_000);
    expect(run.secondsLeft(62_000)).toBe(7);
    expect(run.secondsLeft(62_500)).toBe(6.5);
  });

  test("shares: phases whose steps nobody knows yet count as the present one", () => {
    const run = new Run(record());
    run.take(phase(0));
    run.take(step(5));
    expect(run.share()).toBe(0.25);
    run.take({ type: "end", seconds: 1 });
    expect(run.share()).toBe(1);
  });

  test("an evaluation of a stage replaces the one before", () => {
    const run = new Run(record());
    const evaluation = (accuracy: number): Evaluation => ({ stage: "base", phase: 0, accuracy, problems: [] });
    run.take({ type: "evaluated", evaluation: evaluation(0.1) });
    run.take({ type: "evaluated", evaluation: evaluation(0.2) });
    expect(run.record.evaluations.map(({ accuracy }) => accuracy)).toEqual([0.2]);
  });
});

describe("what to do", () => {
  const chrome = (system: string, version: number) =>
    `Mozilla/5.0 (${system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/${version}.0.0.0 Safari/537.36`;
  test.each([
    [chrome("Windows NT 10.0; Win64; x64", 100), /113 or later/],
    [chrome("Windows NT 10.0; Win64; x64", 140), /chrome:\/\/settings\/system/],
    [chrome("X11; Linux x86_64", 140), /chrome:\/\/flags/],
    [chrome("Linux; Android 11", 140), /Android 12/],
    ["Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", /dom\.webgpu\.enabled/],
    [
      "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15",
      /Safari 26/,
    ],
    ["Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15", /iOS/],
    ["Something else", /recent Chrome, Edge, Safari or Firefox/],
  ])("in %s", (agent, advice) => {
    expect(webgpuAdvice(agent, true)).toMatch(advice);
  });
  test("on a page that is not secure", () => {
    expect(webgpuAdvice("", false)).toBeNull();
  });
  test("after errors of the worker, by their names", () => {
    expect(problemOf(new QuotaError("full")).link!.href).toBe("#/storage");
    expect(problemOf(new MemoryError("Cannot allocate x")).todo).toMatch(/smaller/);
    expect(problemOf(new MemoryError("A smaller model would need less")).todo).toBeNull();
    expect(problemOf("odd").text).toBe("odd");
  });
});
