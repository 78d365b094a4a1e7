import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import { Plateau, type PlateauOptions } from "../../src/train/plateau.ts";
import { learningRate, type Schedule, scheduleOf } from "../../src/train/schedule.ts";

/** What transformers and torch compute; scripts/oracle/schedules.py made it. */
const golden: {
  schedules: (Schedule & { kwargs: Record<string, number | string>; lr: number[] })[];
  plateaus: { kwargs: PlateauOptions; learning_rate: number; metrics: number[]; lr: number[] }[];
} = JSON.parse(readFileSync(join(import.meta.dirname, "schedules.json"), "utf8"));

describe("learning rates are transformers'", () => {
  it.each(golden.schedules)(
    "$lr_scheduler_type $kwargs, warm-up $warmup_steps of $max_steps",
    ({ lr, ...schedule }) => {
      const { lr_scheduler_type, learning_rate, warmup_steps, max_steps, kwargs } = schedule;
      const given = { lr_scheduler_type, learning_rate, warmup_steps, lr_scheduler_kwargs: kwargs };
      const { recipe } = parseRecipe(given, "sft");
      const own = scheduleOf(recipe, max_steps);
      for (const [step, want] of lr.entries()) {
        const got = learningRate(own, step);
        expect(Math.abs(got - want), `step ${step}: ${got}, ${want}`).toBeLessThanOrEqual(1e-12 * learning_rate);
      }
    },
  );

  it("are tried with every new schedule", () => {
    expect([...new Set(golden.schedules.map(({ lr_scheduler_type }) => lr_scheduler_type))].sort()).toEqual([
      "cosine_warmup_with_min_lr",
      "cosine_with_restarts",
      "inverse_sqrt",
      "polynomial",
      "warmup_stable_decay",
    ]);
  });
});

describe("on a plateau learning rates are torch's", () => {
  it.each(golden.plateaus)("$kwargs", ({ kwargs, learning_rate, metrics, lr }) => {
    let plateau = new Plateau(learning_rate, kwargs);
    const got = metrics.map((metric) => {
      const next = new Plateau(learning_rate, kwargs); // as from a checkpoint
      next.state = JSON.parse(JSON.stringify(plateau.state));
      plateau = next;
      plateau.step(metric);
      return plateau.state.learning_rate;
    });
    for (const [i, value] of got.entries()) {
      expect(Math.abs(value - lr[i])).toBeLessThanOrEqual(1e-12 * learning_rate);
    }
    expect(new Set(lr).size).toBeGreaterThan(1);
  });
});

describe("recipes", () => {
  const schedule = (lr_scheduler_type: string, kwargs: unknown, more = {}) =>
    parseRecipe({ lr_scheduler_type, lr_scheduler_kwargs: kwargs, ...more }, "sft");

  it.each([
    ["linear", { num_cycles: 1 }, "takes none"],
    ["polynomial", { min_lr: 1 }, "lr_scheduler_kwargs of polynomial takes lr_end, power"],
    ["polynomial", { lr_end: 1 }, "needs learning_rate 0.00002 to be above lr_end 1"],
    ["warmup_stable_decay", {}, "warmup_stable_decay needs num_decay_steps"],
    ["warmup_stable_decay", { num_decay_steps: 1.5 }, "num_decay_steps must be a whole number of at least 0"],
    ["warmup_stable_decay", { num_decay_steps: 5, decay_type: "quick" }, "must be one of linear, cosine, 1-sqrt"],
    ["cosine_warmup_with_min_lr", {}, "needs either min_lr or min_lr_rate"],
    ["reduce_lr_on_plateau", null, "needs eval_strategy steps or epoch, got no"],
    ["greedy", null, "is not implemented"],
  ])("%s with %j is refused", (type, kwargs, message) => {
    expect(() => schedule(type, kwargs)).toThrow(message);
  });

  it("numbers may be text, and a warm-up that a plateau lacks is noted", () => {
    const { recipe, notes } = schedule(
      "reduce_lr_on_plateau",
      { patience: "2", mode: "max" },
      { eval_strategy: "steps", warmup_steps: 5 },
    );
    expect(recipe.lr_scheduler_kwargs).toEqual({ patience: 2, mode: "max" });
    expect(notes).toContain("warmup_steps is ignored: reduce_lr_on_plateau has no warm-up");
  });
});
