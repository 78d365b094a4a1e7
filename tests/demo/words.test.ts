import { describe, expect, test } from "vitest";
import { hubModel } from "../../demo/hub/address.ts";
import { problemOf } from "../../demo/problems.ts";
import { timesOf } from "../../demo/recorded/player.ts";
import { compact, expand, type Recording } from "../../demo/recorded/recording.ts";
import { Run } from "../../demo/run.ts";
import { foreseePaces, leftText, type Paces, partsLeft } from "../../demo/watch/time-left.ts";
import type { JobPlan, RunEvent, RunRecord, SolvedProblem } from "../../src/client/types.ts";
import { NotFoundError, QuotaError } from "../../src/errors.ts";

// What the page says and reads, without a document.

test.each([
  ["Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B", null],
  [" https://huggingface.co/Qwen/Qwen3-0.6B/ ", "Qwen/Qwen3-0.6B", null],
  ["huggingface.co/Qwen/Qwen3-0.6B?library=transformers#x", "Qwen/Qwen3-0.6B", null],
  ["https://hf.co/Qwen/Qwen3-0.6B/tree/main", "Qwen/Qwen3-0.6B", null],
  ["https://huggingface.co/a/b/blob/v1.0/config.json", "a/b", "v1.0"],
  ["https://huggingface.co/a/b/resolve/0123abc/model.safetensors", "a/b", "0123abc"],
  ["a/b@refs-pr-1", "a/b", "refs-pr-1"],
  ["https://huggingface.co/datasets/openai/gsm8k", "https://huggingface.co/datasets/openai/gsm8k", null],
  ["https://example.com/a/b", "https://example.com/a/b", null],
])("the model of %s", (text, id, revision) => {
  expect(hubModel(text)).toEqual({ id, revision });
});

describe("errors in the user's words", () => {
  const shown = (text: string) => problemOf(new NotFoundError(text));
  test("no paths of storage, bytes or tensor names; the original is kept for a report", () => {
    const raw =
      "Cannot read opfs:qwench/models/mine-1a2b/model.safetensors: model.layers.3.self_attn.q_proj.weight needs 1835008 bytes";
    const { title, text, raw: kept } = shown(raw);
    expect(text).toBe("Cannot read model.safetensors in the browser's storage: a weight of layer 3 needs 1.8 MB");
    expect([title, kept]).toEqual(["Something is missing", raw]);
    expect(shown("Cannot open opfs:qwench/hub/models--a--b: it has no tokenizer.json").text).toBe(
      "Cannot open the browser's storage: it has no tokenizer.json",
    );
    expect(problemOf(new QuotaError("full")).raw).toBeNull();
  });
  test("a gated model: sign in, not an environment variable", () => {
    const { title, text, signIn } = shown(
      "Cannot fetch the model a/b: https://huggingface.co/api/models/a/b/revision/main answers 401 GatedRepo: it is gated or private (set HF_TOKEN), or the name does not exist",
    );
    expect([title, signIn]).toEqual(["This needs an account on the hub", true]);
    expect(text).toBe("Cannot fetch the model a/b: it is gated or private (sign in), or the name does not exist");
    expect(shown("404: the name does not exist; if it is gated or private: set HF_TOKEN").text).not.toMatch(/HF_TOKEN/);
    expect(problemOf(new Error("odd")).signIn).toBe(false);
  });
});

const record = (): RunRecord =>
  ({
    ...{ id: "1", name: "One", created: 0, status: "running", problem: null, phase: 0, model: "m", data: "d" },
    phases: [
      { method: "sft", max_steps: 10, global_step: 0 },
      { method: "grpo", max_steps: null, global_step: 0 },
    ],
    job: {
      ...{ name: "One", model: { kind: "embedded" } },
      phases: [
        { method: "sft", data: { kind: "embedded", rows: "sft" }, recipe: {} },
        { method: "grpo", data: { kind: "embedded", rows: "prompts" }, recipe: { max_steps: 20 } },
      ],
      evaluate: { data: { kind: "embedded", rows: "prompts" }, problems: 40 },
    },
    ...{ accuracy: null, recipes: [], logs: [[], []], completions: [], evaluations: [] },
  }) satisfies RunRecord;

const paces = (known: Record<string, number>): Paces => ({ get: (key) => known[key] ?? null, put: () => {} });
const begun = () => {
  const run = new Run(record());
  const plan = { method: "sft", memory: { peak: 1, byKind: {} }, trainable: 1, parameters: 1, rows: 1, max_steps: 10 };
  const event = { type: "phase", phase: 0, method: "sft", max_steps: 10, global_step: 0, plan: { ...plan, notes: [] } };
  run.take(event as unknown as RunEvent, 0);
  for (const [step, at] of [
    [1, 60_000],
    [2, 62_000],
    [3, 64_000],
  ])
    run.take({ type: "step", phase: 0, step, tokens: 1, loss: 1, reward: null }, at);
  return run;
};

describe("the time left", () => {
  test("is one time for the whole run, with its phases; a part that was never measured is said", () => {
    const run = begun();
    expect(partsLeft(run, paces({}), 64_000)).toEqual([
      { name: "SFT", seconds: 14 },
      { name: "GRPO", seconds: null },
      { name: "held-out problems", seconds: null },
    ]);
    expect(leftText(partsLeft(run, paces({}), 64_000))).toBe(
      "About 14 s left: SFT 14 s, and GRPO and held-out problems, not measured yet",
    );
    const known = paces({ "m/grpo": 3, "m/held-out problems": 0.5 });
    expect(leftText(partsLeft(run, known, 64_000))).toBe(
      "About 2 min 14 s left: SFT 14 s, GRPO 1 min 00 s, held-out problems 1 min 00 s",
    );
  });
  test("is known from the first second by the forecast, which replaces nothing that was measured", () => {
    const known: Record<string, number> = { "m/grpo": 3 };
    const kept: Paces = { get: (key) => known[key] ?? null, put: (key, seconds) => void (known[key] = seconds) };
    const time = { seconds: 190, phases: [20, 50], heldOut: 120, basis: "measurement" };
    const plan = { time, phases: [{ max_steps: 10 }, { max_steps: 20 }] } as unknown as JobPlan;
    const run = new Run(record());
    foreseePaces(run, plan, kept);
    expect(known).toEqual({ "m/sft": 2, "m/grpo": 3, "m/held-out problems": 1 });
    expect(leftText(partsLeft(run, kept, 0))).toBe(
      "About 3 min 20 s left: SFT 20 s, GRPO 1 min 00 s, held-out problems 2 min 00 s",
    );
    foreseePaces(run, { ...plan, time: null }, kept); // no forecast of the time
    expect(Object.keys(known)).toHaveLength(3);
  });
  test("counts answers that came already, and this run's own pace", () => {
    const run = begun();
    const problem: SolvedProblem = { question: "q", gold: "1", completion: "1", answer: "1", correct: true };
    run.take({ type: "progress", what: "held-out problems", done: 0, total: 40, unit: "problems" }, 0);
    for (let index = 0; index < 10; index++)
      run.take({ type: "solved", stage: "base", phase: 0, index, total: 40, problem }, 1000);
    expect(run.solving!.problems).toHaveLength(10);
    const [, , heldOut] = partsLeft(run, paces({ "m/held-out problems": 1 }), 64_000);
    expect(heldOut.seconds).toBe(110);
    const problems = Array.from({ length: 40 }, () => problem);
    run.take({ type: "evaluated", evaluation: { stage: "base", phase: 0, accuracy: 1, problems } }, 8000);
    expect([run.solving, run.problemSeconds]).toEqual([null, 0.2]);
  });
});

describe("a recorded run", () => {
  const problem = (question: string): SolvedProblem => ({
    ...{ question, gold: "1", answer: "1" },
    completion: "c",
    correct: true,
  });
  const events: Recording["events"] = [
    [0, { type: "progress", what: "weights", done: 1, total: 9, unit: "bytes" }],
    [9.4, { type: "progress", what: "weights", done: 5, total: 9, unit: "bytes" }],
    [20, { type: "progress", what: "weights", done: 9, total: 9, unit: "bytes" }],
    [30, { type: "solved", stage: "base", phase: 0, index: 1, total: 2, problem: problem("b") }],
    [31, { type: "solved", stage: "base", phase: 0, index: 0, total: 2, problem: problem("a") }],
    [
      90_000,
      {
        type: "evaluated",
        evaluation: { stage: "base", phase: 0, accuracy: 1, problems: [problem("a"), problem("b")] },
      },
    ],
  ];
  const recording = {
    ...{ version: 1, recorded: "2026-01-01", device: "d", software: true, seconds: 90 },
    record: record(),
    events,
  };

  test("is smaller as a file, and plays the same evaluations", () => {
    const small = compact(recording as Recording);
    expect(small.events.map(([ms, { type }]) => `${ms} ${type}`)).toEqual([
      "0 progress",
      "20 progress",
      "30 solved",
      "31 solved",
      "90000 evaluated",
    ]);
    expect(expand(JSON.parse(JSON.stringify(small))).events.at(-1)![1]).toEqual(events.at(-1)![1]);
  });
  test("waits no longer than a moment between two events, and shows each answer", () => {
    expect(timesOf(events, 10).map((ms) => Number(ms.toFixed(3)))).toEqual([0, 0.94, 2, 62, 122, 1622]);
  });
});
