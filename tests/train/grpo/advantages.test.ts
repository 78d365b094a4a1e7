import { describe, expect, it } from "vitest";
import { nodeFolder } from "../../../src/platform/node/fs.ts";
import { groupAdvantages, type RewardMatrix } from "../../../src/train/grpo/advantages.ts";
import { advantagesParity } from "../../parity/parity-grpo.ts";
import { GOLDEN } from "../../shared.ts";

const one = (rewards: (number | null)[]): RewardMatrix => ({ names: ["r"], weights: null, rewards: [rewards] });
const group = (num_generations: number) => ({ num_generations, scale_rewards: "group" }) as const;

it("equal TRL's, for every scale_rewards", async () => {
  const rows = await advantagesParity(nodeFolder(GOLDEN));
  expect(rows.length).toBeGreaterThan(5);
  expect(rows.filter(({ worst, tolerance }) => !(worst <= tolerance))).toEqual([]);
});

describe("advantages", () => {
  it("are relative to the group's mean, divided by the group's unbiased standard deviation", () => {
    const { advantages, metrics, rewards } = groupAdvantages(one([1, 3, 10, 10]), group(2));
    const std = Math.SQRT2; // of 1 and 3, n − 1
    expect([...advantages].map((a) => +a.toFixed(5))).toEqual(
      [-1 / (std + 1e-4), 1 / (std + 1e-4), 0, 0].map((a) => +a.toFixed(5)),
    );
    expect(rewards).toEqual([1, 3, 10, 10]);
    expect(metrics.reward).toBe(6);
    expect(metrics.reward_std).toBeCloseTo(Math.sqrt((25 + 9 + 16 + 16) / 3), 12);
    expect(metrics.frac_reward_zero_std).toBe(0.5);
  });

  it("use the batch's standard deviation, or none", () => {
    const batch = groupAdvantages(one([1, 3, 10, 10]), { num_generations: 2, scale_rewards: "batch" });
    expect(batch.advantages[1]).toBeCloseTo(1 / (Math.sqrt(22) + 1e-4), 6);
    expect(batch.metrics.frac_reward_zero_std).toBe(0); // the batch has a standard deviation
    const none = groupAdvantages(one([1, 3, 10, 10]), { num_generations: 2, scale_rewards: "none" });
    expect([...none.advantages]).toEqual([-1, 1, 0, 0]);
    expect(none.metrics.frac_reward_zero_std).toBe(0.5);
  });

  it("use weighted sums, without nulls", () => {
    const matrix = {
      names: ["a", "b"],
      weights: [1, 0.5],
      rewards: [
        [1, null, 0, 2],
        [2, 4, null, null],
      ],
    };
    const { rewards, metrics } = groupAdvantages(matrix, group(2));
    expect(rewards).toEqual([2, 2, 0, 2]);
    expect(metrics["rewards/a/mean"]).toBe(1);
    expect(metrics["rewards/a/std"]).toBe(1);
    expect(metrics["rewards/b/mean"]).toBe(3);
    expect(metrics["rewards/b/std"]).toBeCloseTo(Math.SQRT2, 12);
    expect(metrics.frac_reward_zero_std).toBe(0.5);
  });

  it("are 0 for an unscored completion, which counts in no mean", () => {
    const { advantages, rewards, metrics } = groupAdvantages(one([1, null, 3, null, null, null]), group(3));
    expect(rewards).toEqual([1, null, 3, null, null, null]);
    expect([...advantages].map(Math.sign)).toEqual([-1, 0, 1, 0, 0, 0]);
    expect(metrics.reward).toBe(2);
    expect(metrics["rewards/r/mean"]).toBe(2);
    // as in TRL: a group without rewards has no standard deviation, rather than 0
    expect(metrics.frac_reward_zero_std).toBe(0);
  });

  it.each(["group", "batch", "none"] as const)(
    "of what nobody scored log no reward, and a single one no spread (%s)",
    (scale_rewards) => {
      const nothing = groupAdvantages(one([null, null]), { num_generations: 2, scale_rewards });
      expect([...nothing.advantages]).toEqual([0, 0]);
      expect(nothing.metrics).toEqual({ frac_reward_zero_std: 0 });
      const single = groupAdvantages(one([null, 4]), { num_generations: 2, scale_rewards });
      expect([...single.advantages]).toEqual([0, 0]);
      expect(single.metrics).toEqual({ reward: 4, "rewards/r/mean": 4, frac_reward_zero_std: 0 });
      const alone = groupAdvantages(one([4]), { num_generations: 1, scale_rewards });
      expect(alone.metrics).toEqual({ reward: 4, "rewards/r/mean": 4, frac_reward_zero_std: 1 });
    },
  );

  it("are 0 for equal rewards, although their mean is rounded", () => {
    const { advantages, metrics } = groupAdvantages(one([0.1, 0.1, 0.1]), group(3));
    expect(Math.max(...advantages.map(Math.abs))).toBeLessThan(1e-10);
    expect(metrics.frac_reward_zero_std).toBe(1);
  });
});

it("refuses inconsistent input, with the numbers", () => {
  expect(() => groupAdvantages(one([1, 2, 3]), group(2))).toThrow("3 completions in groups of num_generations 2");
  expect(() => groupAdvantages(one([]), group(2))).toThrow("no rewards");
  expect(() => groupAdvantages(one([1, Number.NaN]), group(2))).toThrow("r gave NaN for completion 2");
  expect(() => groupAdvantages({ ...one([1, 2]), weights: [1, 2] }, group(2))).toThrow("with 2 reward_weights");
  expect(() => groupAdvantages({ ...one([1, 2]), weights: [Number.NaN] }, group(2))).toThrow("by NaN");
  expect(() => groupAdvantages({ ...one([1, 2]), names: [] }, group(2))).toThrow("with 0 names");
  const uneven = { names: ["a", "b"], weights: null, rewards: [[1, 2], [1]] };
  expect(() => groupAdvantages(uneven, group(2))).toThrow("b gave 1 rewards for 2 completions");
});

describe("normalize_then_sum", () => {
  const gdpo = {
    num_generations: 2,
    scale_rewards: "group",
    multi_objective_aggregation: "normalize_then_sum",
  } as const;

  it("normalises each reward in its group, weighs, sums, and normalises over the batch", () => {
    const matrix = {
      names: ["a", "b"],
      weights: [1, 0.5],
      rewards: [
        [1, 3, 10, 10],
        [0, 100, 7, 5],
      ],
    };
    const { advantages, metrics, rewards } = groupAdvantages(matrix, gdpo);
    const part = (d: number) => d / 2 / (d / Math.SQRT2 + 1e-4); // of two values d apart
    const sums = [-part(2) - 0.5 * part(100), part(2) + 0.5 * part(100), 0.5 * part(2), -0.5 * part(2)];
    const std = Math.sqrt(sums.reduce((sum, v) => sum + v * v, 0) / 3); // their mean is 0
    for (const [i, sum] of sums.entries()) expect(advantages[i]).toBeCloseTo(sum / (std + 1e-4), 5);
    expect(rewards).toEqual([1, 53, 13.5, 12.5]); // logged as they came
    expect(metrics.reward).toBe(20);
    expect(metrics.frac_reward_zero_std).toBe(0);
  });

  it("of nulls: skipped in their group, 0 where a completion has nothing, and of no spread at all", () => {
    const matrix = {
      names: ["a", "b"],
      weights: null,
      rewards: [
        [1, null, 2, null],
        [null, null, 4, 6],
      ],
    };
    const { advantages } = groupAdvantages(matrix, gdpo);
    expect(advantages[1]).toBe(0);
    expect(advantages[2]).toBeLessThan(0);
    expect(advantages[3]).toBeCloseTo(-advantages[2], 5);
    expect(groupAdvantages(one([5, 5, 1, 1]), gdpo).metrics.frac_reward_zero_std).toBe(1);
  });
});
