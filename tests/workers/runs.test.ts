import { describe, expect, test } from "vitest";
import type { Evaluation, RunEvent } from "../../src/client/types.ts";
import { NotFoundError } from "../../src/errors.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { newestAdapter, newRun, note, type RunStore, type StoredRun, summaryOf } from "../../workers/session/runs.ts";
import { jobOf } from "./jobs.ts";

const fresh = (): StoredRun => newRun("run-1", jobOf(), { model: "m", data: "d", recipes: ["", ""] });
const plan = {} as Extract<RunEvent, { type: "phase" }>["plan"];
const evaluation = (stage: Evaluation["stage"], phase: number, accuracy: number): RunEvent => ({
  type: "evaluated",
  evaluation: { stage, phase, accuracy, problems: [] },
});
const generated = (phase: number, step: number): RunEvent => ({ type: "generated", phase, step, records: [] });

describe("a run's record", () => {
  test("begins with every phase pending; its summary leaves out large fields", () => {
    const run = fresh();
    expect(run).toMatchObject({ status: "ready", phase: 0, done: 0, seconds: 0, logs: [[], []], accuracy: null });
    expect(run.phases).toEqual([
      { method: "sft", max_steps: null, global_step: 0 },
      { method: "grpo", max_steps: null, global_step: 0 },
    ]);
    expect(summaryOf(run)).toMatchObject({ id: "run-1", name: "Sums", model: "m", data: "d" });
    expect(Object.keys(summaryOf(run))).not.toEqual(expect.arrayContaining(["logs"]));
  });

  test("records phases, steps and logs", () => {
    const run = fresh();
    note(run, { type: "phase", phase: 1, method: "grpo", max_steps: 2, global_step: 0, plan });
    note(run, { type: "step", phase: 1, step: 1, tokens: 9, loss: 1, reward: 0.5 });
    note(run, { type: "log", phase: 1, record: { step: 1, reward: 0.5 } as never });
    note(run, { type: "checkpoint", phase: 1, step: 1 });
    expect(run.phase).toBe(1);
    expect(run.phases[1]).toEqual({ method: "grpo", max_steps: 2, global_step: 1 });
    expect(run.logs).toEqual([[], [{ step: 1, reward: 0.5 }]]);
  });

  test("keeps the last eight batches of completions, and drops those that a resumed phase repeats", () => {
    const run = fresh();
    for (let step = 1; step <= 12; step++) note(run, generated(1, step));
    expect(run.completions.map(({ step }) => step)).toEqual([5, 6, 7, 8, 9, 10, 11, 12]);
    note(run, { type: "phase", phase: 1, method: "grpo", max_steps: 20, global_step: 10, plan });
    expect(run.completions.map(({ step }) => step)).toEqual([5, 6, 7, 8, 9, 10]);
    note(run, { type: "phase", phase: 2 - 1, method: "grpo", max_steps: 20, global_step: 0, plan });
    expect(run.completions).toEqual([]);
  });

  test("has one evaluation a stage and phase, and the accuracy of the last", () => {
    const run = fresh();
    for (const event of [evaluation("base", 0, 0.1), evaluation("sft", 0, 0.2), evaluation("sft", 0, 0.3)])
      note(run, event);
    expect(run.evaluations.map(({ stage, accuracy }) => [stage, accuracy])).toEqual([
      ["base", 0.1],
      ["sft", 0.3],
    ]);
    expect(run.accuracy).toBe(0.3);
    note(run, { type: "evaluated", evaluation: { stage: "sft", phase: 0, step: 4, accuracy: 0.9, problems: [] } });
    expect(run.evaluations.map(({ step }) => step)).toEqual([undefined, 4, undefined]);
    expect(run.accuracy).toBe(0.3); // an earlier checkpoint is not what the run has become
  });
});

describe("the newest adapter of a run", () => {
  const stored = (folders: ReturnType<typeof memoryFolder>[]) =>
    ({ folder: (_: string, phase: number) => folders[phase] }) as unknown as RunStore;

  test("is that of the last finished phase; an unfinished phase's does not count", async () => {
    const folders = [memoryFolder("phase-1"), memoryFolder("phase-2")];
    for (const folder of folders) await folder.write("adapter_model.safetensors", new Uint8Array());
    const run = { ...fresh(), done: 1 };
    expect((await newestAdapter(run, stored(folders))).path).toBe("phase-1");
    expect((await newestAdapter({ ...run, done: 2 }, stored(folders))).path).toBe("phase-2");
  });

  test("is missing, with a message, if nothing was saved", async () => {
    const none = newestAdapter(fresh(), stored([memoryFolder(), memoryFolder()]));
    await expect(none).rejects.toThrow(NotFoundError);
    await expect(none).rejects.toThrow("The run Sums has no adapter yet: it has saved no checkpoint");
  });
});
