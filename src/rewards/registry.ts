import { NotFoundError, UnsupportedError } from "../errors.ts";
import { accuracyReward, reasoningAccuracyReward } from "./accuracy.ts";
import { CODE_LIMITS, type CodeExecutor, type CodeLimits } from "./code/pool.ts";
import { codeFormatReward, codeRewards } from "./code/rewards.ts";
import { formatRewards } from "./format.ts";
import { correctnessReward, intReward, softFormatReward, strictFormatReward, xmlcountReward } from "./gsm8k.ts";
import type { Judge, JudgeParameters } from "./judge/judge.ts";
import { cosineOfCharacters, cosineOfTokens, lenReward, softOverlongPunishment } from "./lengths.ts";
import { formatReward, reasoningStepsReward, tagCountReward, thinkFormatReward } from "./open-r1.ts";
import { repetitionOfTokens, repetitionOfWords } from "./repetition.ts";
import type { NamedReward, RewardFunction } from "./reward.ts";

/** A recipe's settings for its reward functions, by the names of open-r1's script; null: the function's own default. */
export interface RewardParameters extends JudgeParameters {
  cosine_min_value_wrong: number | null;
  cosine_max_value_wrong: number | null;
  cosine_min_value_correct: number | null;
  cosine_max_value_correct: number | null;
  cosine_max_len: number | null;
  repetition_n_grams: number | null;
  repetition_max_penalty: number | null;
  max_completion_len: number | null;
  soft_punish_cache: number | null;
  /** of the run, in tokens */
  max_completion_length: number | null;
  code_test_timeout: number;
  code_total_timeout: number;
  code_memory: number;
}

/** Services of a command line or a page, for functions that need more than text. */
export interface RewardHost {
  /** runs Python; called once per function, which may share threads */
  code?(limits: Partial<CodeLimits>): CodeExecutor;
  /** opens a judge from a whole recipe */
  judge?(parameters: JudgeParameters): Judge;
}

/** Creates a reward function for a recipe. */
export type RewardFactory = (parameters: Partial<RewardParameters>, host: RewardHost) => RewardFunction;

const always =
  (reward: RewardFunction): RewardFactory =>
  () =>
    reward;

/** A cosine's ends; only the default of `min_value_wrong` differs between open-r1's script and TRL's function. */
function cosineOptions(p: Partial<RewardParameters>, min_value_wrong: number, max_len: number) {
  return {
    min_value_wrong: p.cosine_min_value_wrong ?? min_value_wrong,
    max_value_wrong: p.cosine_max_value_wrong ?? -0.5,
    min_value_correct: p.cosine_min_value_correct ?? 0.5,
    max_value_correct: p.cosine_max_value_correct ?? 1,
    max_len: p.cosine_max_len ?? max_len,
  };
}

const overlong =
  (most: number, margin: number): RewardFactory =>
  (p) =>
    softOverlongPunishment(p.max_completion_len ?? most, p.soft_punish_cache ?? margin);

const code =
  (name: "code_reward" | "binary_code_reward"): RewardFactory =>
  (p, host) => {
    if (!host.code) throw new UnsupportedError(`Cannot use the reward ${name}: this platform cannot run Python`);
    const executor = host.code({
      test_seconds: p.code_test_timeout ?? CODE_LIMITS.test_seconds,
      total_seconds: p.code_total_timeout ?? CODE_LIMITS.total_seconds,
      memory_mb: p.code_memory ?? CODE_LIMITS.memory_mb,
    });
    return codeRewards(executor)[name];
  };

const judge: RewardFactory = (p, host) => {
  if (!host.judge) throw new UnsupportedError("Cannot use the reward judge: this platform cannot ask a judge");
  return host.judge(p as JudgeParameters).reward;
};

/** Every reward function that a recipe can name. */
export const REWARDS: Readonly<Record<string, RewardFactory>> = {
  // the GSM8K recipe's
  correctness_reward_func: always(correctnessReward),
  int_reward_func: always(intReward),
  strict_format_reward_func: always(strictFormatReward),
  soft_format_reward_func: always(softFormatReward),
  xmlcount_reward_func: always(xmlcountReward),
  // Unsloth's
  ...Object.fromEntries(Object.entries(formatRewards()).map(([name, reward]) => [name, always(reward)])),
  // open-r1's, by the names of its script and of its functions
  accuracy: always(accuracyReward),
  format: always(formatReward),
  format_reward: always(formatReward),
  tag_count: always(tagCountReward),
  tag_count_reward: always(tagCountReward),
  reasoning_steps: always(reasoningStepsReward),
  reasoning_steps_reward: always(reasoningStepsReward),
  length: always(lenReward),
  len_reward: always(lenReward),
  cosine: (p) => cosineOfCharacters(cosineOptions(p, 0, 1000)),
  repetition_penalty: (p) => repetitionOfWords(p.repetition_n_grams ?? 3, p.repetition_max_penalty ?? -1),
  soft_overlong_punishment: overlong(16384, 4096),
  code: code("code_reward"),
  code_reward: code("code_reward"),
  binary_code: code("binary_code_reward"),
  binary_code_reward: code("binary_code_reward"),
  code_format: always(codeFormatReward),
  code_format_reward: always(codeFormatReward),
  // TRL's, by the names of its script, and of its functions where the script has none
  accuracy_reward: always(accuracyReward),
  reasoning_accuracy_reward: always(reasoningAccuracyReward),
  think_format_reward: always(thinkFormatReward),
  get_soft_overlong_punishment: overlong(1280, 256),
  cosine_scaled_reward: (p) => cosineOfTokens(cosineOptions(p, -1, p.max_completion_length ?? 1000)),
  repetition_penalty_reward: (p) => repetitionOfTokens(p.repetition_n_grams ?? 3, p.repetition_max_penalty ?? -1),
  // Qwench's
  judge,
};

/** Names for metrics, if a script's name differs from the function's: TRL logs rewards/{function}/mean. */
const FUNCTIONS: Readonly<Record<string, string>> = {
  accuracy: "accuracy_reward",
  format: "format_reward",
  tag_count: "tag_count_reward",
  reasoning_steps: "reasoning_steps_reward",
  length: "len_reward",
  cosine: "cosine_scaled_reward",
  repetition_penalty: "repetition_penalty_reward",
  soft_overlong_punishment: "soft_overlong_punishment_reward",
  code: "code_reward",
  binary_code: "binary_code_reward",
  code_format: "code_format_reward",
  get_soft_overlong_punishment: "soft_overlong_punishment_reward",
};

/** The five functions of the GSM8K recipe, in its order. */
export const GSM8K_REWARDS = [
  "xmlcount_reward_func",
  "soft_format_reward_func",
  "strict_format_reward_func",
  "int_reward_func",
  "correctness_reward_func",
] as const;

/**
 * A reward function by its name, with the name for its metrics.
 *
 * @param parameters a recipe, or a part of it
 * @param host for the functions that run code or ask a judge
 * @throws {NotFoundError} an unknown name; the message lists the known ones
 * @throws {RecipeError} inconsistent parameters
 * @throws {UnsupportedError} a function that needs a service that the host lacks
 */
export function rewardNamed(
  name: string,
  parameters: Partial<RewardParameters> = {},
  host: RewardHost = {},
): NamedReward {
  if (!Object.hasOwn(REWARDS, name)) {
    throw new NotFoundError(
      `There is no reward function ${JSON.stringify(name)}; functions: ${Object.keys(REWARDS).join(", ")}`,
    );
  }
  return { name: Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : name, reward: REWARDS[name](parameters, host) };
}
