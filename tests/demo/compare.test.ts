import { describe, expect, test } from "vitest";
import { differences, logsOfMethod, methodsOf, sharedProblems } from "../../demo/compare/facts.ts";
import type { Evaluation, RunRecord } from "../../src/client/types.ts";

describe("runs are compared", () => {
  const phase = (method: "sft" | "grpo" | "dpo", global_step: number) => ({ method, max_steps: null, global_step });
  const both = {
    phases: [phase("sft", 2), phase("grpo", 3)],
    logs: [[{ step: 2, loss: 1 }], [{ step: 1, reward: 5 }]],
  };

  test("by each method's own steps", () => {
    expect(methodsOf([{ phases: [phase("grpo", 1)] }, both])).toEqual(["sft", "grpo"]);
    expect(logsOfMethod(both, "grpo")).toEqual([{ step: 1, reward: 5 }]);
    expect(logsOfMethod(both, "dpo")).toEqual([]);
    const twice = { phases: [phase("sft", 4), phase("sft", 4)], logs: [[{ step: 4 }], [{ step: 1 }]] };
    expect(logsOfMethod(twice, "sft")).toEqual([{ step: 4 }, { step: 5 }]);
  });

  test("by the fields that differ", () => {
    const settings = [
      { "sft lora_r": 8, "sft seed": 1, model: "m" },
      { "sft lora_r": 16, "sft seed": 1, model: "m", "grpo reward_funcs": ["a", "b"] },
    ];
    expect(differences(settings)).toEqual([{ name: "sft lora_r", values: ["8", "16"] }]);
    expect(differences([settings[0], settings[0]])).toEqual([]);
  });

  test("by the problems that all have tried, after their last phase", () => {
    const evaluation = (phase_: number, marks: Record<string, boolean>): Evaluation => ({
      ...{ stage: phase_ < 0 ? "base" : "sft", phase: Math.max(0, phase_), accuracy: 0 },
      problems: Object.entries(marks).map(([question, correct]) => ({
        ...{ question, gold: "1", correct, completion: `${phase_} ${question}` },
        ...({ answer: null, tokens: 1 } as object),
      })) as Evaluation["problems"],
    });
    const run = (...evaluations: Evaluation[]): Pick<RunRecord, "evaluations"> => ({ evaluations });
    const a = run(evaluation(0, { x: true, y: false }), evaluation(-1, { x: false, y: false }));
    const b = run(evaluation(0, { y: true, z: true }));
    expect(sharedProblems([a, b])).toEqual([
      {
        question: "y",
        gold: "1",
        answers: [
          { completion: "0 y", correct: false },
          { completion: "0 y", correct: true },
        ],
      },
    ]);
    expect(sharedProblems([a, run()])).toEqual([]);
  });
});
