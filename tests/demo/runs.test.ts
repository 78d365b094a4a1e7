import { expect, test, vi } from "vitest";
import { embeddedJob, jobOf } from "../../demo/jobs.ts";
import { keepModule, keepModulesOf, shelf } from "../../demo/reward/shelf.ts";
import { draftOfJob } from "../../demo/runs/draft-of-job.ts";
import type { Evaluation, Job } from "../../src/client/types.ts";
import { inOrder, stageName } from "../../src/report/names.ts";

// What the page works out about earlier runs, without a document.

test("a run's choices give the same job again, also with kept rows; a continued one names its run", () => {
  const job: Job = {
    name: "x",
    model: { kind: "hub", id: "Qwen/Qwen2.5-0.5B" },
    phases: [{ method: "dpo", data: { kind: "stored", id: "data/pairs-12345678" }, recipe: { beta: 0.2 } }],
    evaluate: null,
  };
  const { name, ...rest } = jobOf({ ...draftOfJob(job, null), name: "x" }) as Job;
  expect({ name, ...rest }).toEqual(job);
  expect(jobOf({ ...draftOfJob(job, { id: "run-1", name: "first" }), name: "x" })).toEqual({
    ...job,
    continues: "run-1",
  });
  const demo = embeddedJob([]);
  expect(jobOf({ ...draftOfJob(demo, null), name: demo.name })).toEqual(demo);
});

test("evaluations in order: the base, checkpoints by their steps, then the end of the phase; each says what it was measured at", () => {
  const made = (stage: Evaluation["stage"], phase: number, step?: number): Evaluation => ({
    stage,
    phase,
    ...(step !== undefined && { step }),
    accuracy: 0,
    problems: [],
  });
  const all = [
    made("grpo", 1),
    made("grpo", 1, 20),
    made("sft", 0),
    made("grpo", 1, 5),
    made("base", 0),
    made("sft", 0, 7),
  ];
  expect(inOrder(all).map(stageName)).toEqual([
    "before",
    "at step 7 of SFT",
    "after SFT",
    "at step 5 of GRPO",
    "at step 20 of GRPO",
    "after GRPO",
  ]);
});

test("a run's own rewards are on the shelf again, and a newer module of the name stays", () => {
  const kept = new Map<string, string>();
  vi.stubGlobal("localStorage", {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
  });
  try {
    const modules = [
      { name: "mine.mjs", text: "export const exact = () => [1];" },
      { name: "newer.mjs", text: "old" },
    ];
    const recipe = { reward_funcs: ["./mine.mjs:exact", "./newer.mjs"] };
    const data = { kind: "embedded", rows: "prompts" } as const;
    const job: Job = {
      name: "x",
      model: { kind: "embedded" },
      phases: [{ method: "grpo", data, recipe, modules }],
      evaluate: null,
    };
    keepModule({ name: "newer.mjs", text: "new", functions: ["f"] });
    keepModulesOf(job);
    expect(shelf()).toEqual([
      { ...modules[0], functions: ["exact"] },
      { name: "newer.mjs", text: "new", functions: ["f"] },
    ]);
  } finally {
    vi.unstubAllGlobals();
  }
});
