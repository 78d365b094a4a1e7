import { expect, it } from "vitest";
import { dueOf } from "../../src/train/due.ts";
import { StepTime, TokensPerSecond } from "../../src/train/speed.ts";

const mark = (seconds: number, step: number) => ({ time: 1000 * seconds, step, tokens: 100 * step });

it("tokens_per_second restarts at a log and at a checkpoint", () => {
  const speed = new TokensPerSecond();
  speed.begin(mark(0, 0));
  expect(speed.log(mark(10, 5))).toEqual({ tokens_per_second: 50 });
  speed.paused(mark(20, 8));
  expect(speed.log(mark(22, 10))).toEqual({ tokens_per_second: 100 });
});

it("step_time covers all steps since a log; a checkpoint right after a log does not count", () => {
  const speed = new StepTime();
  speed.begin(mark(0, 0));
  expect(speed.log(mark(10, 5))).toEqual({ step_time: 2 });
  speed.paused(mark(20, 5));
  expect(speed.log(mark(22, 7))).toEqual({ step_time: 1 });
  speed.paused(mark(40, 8));
  expect(speed.log(mark(42, 9))).toEqual({ step_time: 10 });
});

const fields = { logging_steps: 3, eval_steps: null, save_steps: 0.25 };
const run = { max_steps: 10, stepsPerEpoch: 4 };
const steps = (recipe: Parameters<typeof dueOf>[0], what: "log" | "evaluate" | "save") =>
  Array.from({ length: 10 }, (_, i) => i + 1).filter((done) => dueOf(recipe, run)(done)[what]);

it("due actions follow strategies, steps and shares; all are due at the end", () => {
  const bySteps = { ...fields, eval_strategy: "steps", save_strategy: "steps" } as const;
  expect(steps(bySteps, "log")).toEqual([3, 6, 9, 10]);
  expect(steps(bySteps, "evaluate")).toEqual([3, 6, 9, 10]); // as logs are
  expect(steps(bySteps, "save")).toEqual([3, 6, 9, 10]);
  const byEpoch = { ...fields, eval_strategy: "epoch", save_strategy: "epoch" } as const;
  expect(steps(byEpoch, "evaluate")).toEqual([4, 8, 10]);
  expect(steps({ ...byEpoch, save_strategy: "no" }, "save")).toEqual([]);
  expect(steps({ ...bySteps, logging_first_step: true }, "log")).toEqual([1, 3, 6, 9, 10]);
  expect(steps({ ...bySteps, eval_delay: 6 }, "evaluate")).toEqual([6, 9, 10]);
  expect(steps({ ...byEpoch, eval_delay: 1.5 }, "evaluate")).toEqual([8, 10]); // in epochs
});
