import { expect, it, vi } from "vitest";
import { NotFoundError, RecipeError, UnsupportedError } from "../../src/errors.ts";
import { CodePool } from "../../src/rewards/code/pool.ts";
import { eachCompletion } from "../../src/rewards/reward.ts";
import { openRewards, type RewardPlatform } from "../../src/session/rewards.ts";

/** A minimal host: threads that never start. */
function platform(more: Partial<RewardPlatform> = {}): RewardPlatform & { pools: CodePool[] } {
  const pools: CodePool[] = [];
  const threads = { files: async () => ({}) as never, thread: () => ({}) as never, threads: 1 };
  return {
    pools,
    openCodePool(limits) {
      pools.push(new CodePool(threads, limits));
      return pools[0];
    },
    ...more,
  };
}

it("opens registered functions in order; those that run code share one pool, which ends with them", async () => {
  const brought = platform();
  const opened = await openRewards(["code", "int_reward_func", "binary_code"], { code_memory: 256 }, brought);
  expect(opened.rewards.map(({ name }) => name)).toEqual(["code_reward", "int_reward_func", "binary_code_reward"]);
  expect(brought.pools).toHaveLength(1);
  expect(opened.summary()).toEqual([]);
  const end = vi.spyOn(brought.pools[0], "end");
  await opened.close();
  expect(end).toHaveBeenCalledOnce();
});

it("refuses two functions of one name, a column's name, and a judge on a host without judges", async () => {
  await expect(openRewards(["accuracy", "accuracy_reward"], {}, platform())).rejects.toThrow(RecipeError);
  await expect(openRewards(["accuracy", "accuracy_reward"], {}, platform())).rejects.toThrow(
    "reward_funcs accuracy and accuracy_reward are both called accuracy_reward",
  );
  await expect(openRewards(["judge"], {}, platform())).rejects.toThrow(UnsupportedError);
  const ended = vi.fn(async () => {});
  const modules = {
    open: async (entry: string) => (entry.endsWith(".js") ? { name: "length", reward: eachCompletion(() => 1) } : null),
    notes: () => ["a note"],
    end: ended,
  };
  await expect(openRewards(["mine.js"], {}, platform({ modules }))).rejects.toThrow(
    "which is also a column of the completions",
  );
  expect(ended).toHaveBeenCalledOnce();
});

it("lists the available functions, and modules only if the host opens them", async () => {
  const wrong = openRewards(["acuracy"], {}, platform());
  await expect(wrong).rejects.toThrow(NotFoundError);
  await expect(wrong).rejects.toThrow(
    /^There is no reward function acuracy: did you mean accuracy\? There are (?!.*modules)/,
  );
  const modules = { open: async () => null, notes: () => [], end: async () => {} };
  await expect(openRewards(["acuracy"], {}, platform({ modules }))).rejects.toThrow(
    /, and a module is named by its path/,
  );
  await expect(openRewards(["./mine.py"], {}, platform({ modules }))).rejects.toThrow("a module's name ends in .js");
});
