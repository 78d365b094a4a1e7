import { NotFoundError } from "../errors.ts";
import { formatRewards } from "./format.ts";
import { correctnessReward, intReward, softFormatReward, strictFormatReward, xmlcountReward } from "./gsm8k.ts";
import type { NamedReward, RewardFunction } from "./reward.ts";

/** Every reward function that a recipe can name. */
export const REWARDS: Readonly<Record<string, RewardFunction>> = {
  correctness_reward_func: correctnessReward,
  int_reward_func: intReward,
  strict_format_reward_func: strictFormatReward,
  soft_format_reward_func: softFormatReward,
  xmlcount_reward_func: xmlcountReward,
  ...formatRewards(),
};

/** The five of the GSM8K recipe, in its order. */
export const GSM8K_REWARDS = [
  "xmlcount_reward_func",
  "soft_format_reward_func",
  "strict_format_reward_func",
  "int_reward_func",
  "correctness_reward_func",
] as const;

/** A reward function by its name. @throws {NotFoundError} an unknown one, with those that there are */
export function rewardNamed(name: string): NamedReward {
  if (!Object.hasOwn(REWARDS, name)) {
    throw new NotFoundError(`There is no reward function ${JSON.stringify(name)}: ${Object.keys(REWARDS).join(", ")}`);
  }
  return { name, reward: REWARDS[name] };
}
