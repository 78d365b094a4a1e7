import { RecipeError, TrainingError } from "../errors.ts";
import { isCorrect } from "./accuracy.ts";
import { lengthOf, type RewardContext, type RewardFunction, type Turn, textOf } from "./reward.ts";

/** Tokens of each completion. @throws {TrainingError} the token counts are unknown */
export function tokensOf({ completion_ids }: RewardContext, name: string): readonly ArrayLike<number>[] {
  if (completion_ids) return completion_ids;
  throw new TrainingError(`${name} needs the completions' tokens, but only their text is known`);
}

/** Whether each completion is correct; see `isCorrect`. */
function correctness(
  completions: readonly Turn[],
  columns: Readonly<Record<string, readonly unknown[]>>,
): (boolean | null)[] {
  const names = Object.keys(columns);
  return completions.map((completion, i) =>
    isCorrect(textOf(completion), Object.fromEntries(names.map((name) => [name, columns[name][i]]))),
  );
}

/**
 * Let l = 0.5 − (length − shortest) / (longest − shortest), with lengths in characters over the whole batch. A correct
 * completion gets l, a wrong one min(0, l); all get 0 if they are equally long. If the row has no answer, a completion
 * counts as correct.
 *
 * @see Kimi k1.5, arXiv:2501.12599, section 2.3.3; open-r1's len_reward
 */
export const lenReward: RewardFunction = (_prompts, completions, columns) => {
  const correct = correctness(completions, columns);
  const lengths = completions.map((completion) => lengthOf(textOf(completion)));
  const [shortest, longest] = [Math.min(...lengths), Math.max(...lengths)];
  if (shortest === longest) return lengths.map(() => 0);
  return lengths.map((length, i) => {
    const own = 0.5 - (length - shortest) / (longest - shortest);
    return correct[i] === false ? Math.min(0, own) : own;
  });
};

/** Ends of the cosine: `min_value_correct` is the reward of a correct completion of full length, and so on. */
interface CosineOptions {
  min_value_wrong: number;
  max_value_wrong: number;
  min_value_correct: number;
  max_value_correct: number;
  /** characters or tokens */
  max_len: number;
}

/** low + (high − low)·(1 + cos(π·progress)) / 2 */
function cosine(progress: number, low: number, high: number): number {
  return low + 0.5 * (high - low) * (1 + Math.cos(progress * Math.PI));
}

/** For wrong completions, the ends are swapped: longer ones are punished less. */
function scaled(correct: boolean, progress: number, options: CosineOptions): number {
  return correct
    ? cosine(progress, options.min_value_correct, options.max_value_correct)
    : cosine(progress, options.max_value_wrong, options.min_value_wrong);
}

/**
 * A cosine from the value at length 0 to the value at `max_len` characters; beyond that, the cosine continues. 1 if the
 * row has no answer.
 *
 * @see arXiv:2502.03373, appendix C.1; open-r1's get_cosine_scaled_reward
 */
export function cosineOfCharacters(options: CosineOptions): RewardFunction {
  return (_prompts, completions, columns) =>
    correctness(completions, columns).map((correct, i) =>
      correct === null ? 1 : scaled(correct, lengthOf(textOf(completions[i])) / options.max_len, options),
    );
}

/**
 * The same in tokens, and constant beyond `max_len`. null if the row has no answer.
 *
 * @see TRL's get_cosine_scaled_reward
 */
export function cosineOfTokens(options: CosineOptions): RewardFunction {
  return (_prompts, completions, columns, context) => {
    const ids = tokensOf(context, "cosine_scaled_reward");
    return correctness(completions, columns).map((correct, i) =>
      correct === null ? null : scaled(correct, Math.min(1, ids[i].length / options.max_len), options),
    );
  };
}

/**
 * For at most L tokens and a margin C: 0 up to L − C tokens, (L − C − length) / C up to L, −1 beyond.
 *
 * @see DAPO, arXiv:2503.14476, equation 13; TRL's get_soft_overlong_punishment
 * @throws {RecipeError} a margin longer than L
 */
export function softOverlongPunishment(max_completion_len: number, soft_punish_cache: number): RewardFunction {
  if (soft_punish_cache > max_completion_len) {
    throw new RecipeError(
      `soft_punish_cache must be at most max_completion_len ${max_completion_len}, got ${soft_punish_cache}`,
    );
  }
  const free = max_completion_len - soft_punish_cache;
  return (_prompts, _completions, _columns, context) =>
    tokensOf(context, "soft_overlong_punishment").map(({ length }) => {
      if (length <= free) return 0;
      return length <= max_completion_len ? (free - length) / soft_punish_cache : -1;
    });
}
