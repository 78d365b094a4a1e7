import { describe, expect, it } from "vitest";
import { rewardNamed } from "../../src/rewards/registry.ts";
import type { NamedReward, RewardFunction } from "../../src/rewards/reward.ts";
import { type RewardBatch, runRewards } from "../../src/rewards/run.ts";

const batch: RewardBatch = {
  prompts: ["one?", "one?", [{ role: "user", content: "two?" }]],
  completions: ["1", "2", [{ role: "assistant", content: "3" }]],
  columns: { answer: ["1", "1", "3"] },
  step: 4,
};
const named = (reward: RewardFunction, name = "mine"): NamedReward => ({ name, reward });
const run = (reward: RewardFunction, options: { timeout_ms?: number; signal?: AbortSignal } = {}) =>
  runRewards([named(reward)], null, batch, { timeout_ms: options.timeout_ms ?? 5000, signal: options.signal });

describe("rewards of a batch", () => {
  it("of several functions, sync and async, with nulls and weights", async () => {
    const slow = named(async (_prompts, completions, _columns, { step }) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      return completions.map((_, i) => (i === 1 ? null : step));
    });
    const functions = [rewardNamed("correctness_reward_func"), slow];
    expect(await runRewards(functions, [1, 0.5], batch, { timeout_ms: 5000 })).toEqual({
      names: ["correctness_reward_func", "mine"],
      weights: [1, 0.5],
      rewards: [
        [2, 0, 2],
        [4, null, 4],
      ],
      unscored: [],
    });
  });

  it("names the completions that no function scored", async () => {
    expect(await run((_, completions) => completions.map((_, i) => (i === 2 ? null : 1)))).toMatchObject({
      weights: [1],
      unscored: [2],
    });
  });

  it("accepts typed arrays", async () => {
    expect((await run(() => Float32Array.of(1, 2, 3) as unknown as number[])).rewards).toEqual([[1, 2, 3]]);
  });
});

describe("a reward function that fails", () => {
  it("is named with the row that broke it, although it got the whole batch", async () => {
    const reward: RewardFunction = (_, completions) =>
      completions.map((completion) => {
        if (completion === "2") throw new RangeError("no such number");
        return 1;
      });
    const failed = run(reward);
    await expect(failed).rejects.toMatchObject({ name: "TrainingError", cause: expect.any(RangeError) });
    await expect(failed).rejects.toThrow(
      'Reward mine failed on row 2 of 3 (prompt "one?", completion "2"): RangeError: no such number',
    );
  });

  it("a named one, on a row without an answer", async () => {
    const without = { ...batch, columns: { answer: ["1", "1", null] } };
    await expect(
      runRewards([rewardNamed("correctness_reward_func")], null, without, { timeout_ms: 1000 }),
    ).rejects.toThrow(
      'Reward correctness_reward_func failed on row 3 of 3 (prompt "two?", completion "3"): the reward compares with the column answer, but the row\'s answer is null',
    );
  });

  it("on the batch, but on no single row", async () => {
    const reward: RewardFunction = async (_, completions) => {
      if (completions.length > 1) throw "too many";
      return [1];
    };
    await expect(run(reward)).rejects.toThrow(
      'Reward mine failed on the batch of 3 completions, though on none of them alone: "too many"',
    );
  });

  it.each([
    ["of the wrong length", () => [1, 2], "returned 2 rewards for 3 completions"],
    ["with NaN", () => [1, Number.NaN, 3], 'returned NaN for row 2 of 3 (prompt "one?", completion "2")'],
    ["with infinity", () => [1, 2, Number.POSITIVE_INFINITY], "returned Infinity for row 3 of 3"],
    ["with undefined", () => [1, undefined, 3], "returned nothing for row 2 of 3"],
    ["with text", () => ["1", 2, 3], 'returned "1" for row 1 of 3'],
    ["that is a number", () => 1, "must return an array with a number or null for each of 3 completions, not 1"],
    ["that is nothing", () => undefined, "not nothing"],
  ])("a result %s", async (_, reward, message) => {
    const failed = run(reward as unknown as RewardFunction);
    await expect(failed).rejects.toMatchObject({ name: "TrainingError" });
    await expect(failed).rejects.toThrow(message);
  });

  it("shortens a long completion", async () => {
    const long = { ...batch, completions: ["x".repeat(5000), "2", "3"] };
    const failed = runRewards([named(() => [Number.NaN, 1, 1])], null, long, { timeout_ms: 1000 });
    await expect(failed).rejects.toThrow(`"${"x".repeat(79)}…"`);
    await expect(failed).rejects.toSatisfy((error: Error) => error.message.length < 400);
  });
});

describe("a reward function that does not end", () => {
  const never: RewardFunction = () => new Promise(() => {});

  it("fails after the timeout, and is told by its signal", async () => {
    let told = false;
    const reward: RewardFunction = (_, __, ___, { signal }) => {
      signal.addEventListener("abort", () => {
        told = true;
      });
      return new Promise(() => {});
    };
    const failed = run(reward, { timeout_ms: 20 });
    await expect(failed).rejects.toMatchObject({ name: "TrainingError" });
    await expect(failed).rejects.toThrow("Reward mine has not returned for 3 completions within 20 ms");
    expect(told).toBe(true);
  });

  it("does not delay the failure of another", async () => {
    const broken = named(() => [Number.NaN, 1, 1], "broken");
    await expect(runRewards([named(never), broken], null, batch, { timeout_ms: null })).rejects.toThrow(
      "Reward broken",
    );
  });

  it("stops with the run", async () => {
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 10);
    await expect(run(never, { signal: stop.signal })).rejects.toMatchObject({ name: "AbortError" });
    await expect(run(() => [1, 1, 1], { signal: stop.signal })).rejects.toMatchObject({ name: "AbortError" });
  });
});

it("refuses weights and functions that do not fit", async () => {
  const one = named(() => [1, 1, 1]);
  const go = (functions: NamedReward[], weights: number[] | null, rows = batch) =>
    runRewards(functions, weights, rows, { timeout_ms: 100 });
  await expect(go([], null)).rejects.toThrow("reward_funcs is empty");
  await expect(go([one], [1, 2])).rejects.toThrow(
    "1 reward functions (mine) with 2 reward_weights: each function needs one",
  );
  await expect(go([one], [Number.NaN])).rejects.toThrow("by NaN");
  await expect(go([one, one], null)).rejects.toThrow("mine twice");
  await expect(go([one], null, { ...batch, columns: { answer: ["1"] } })).rejects.toThrow("there are 1 answer");
});
