import { tokensOf } from "./lengths.ts";
import { eachCompletion, type RewardFunction } from "./reward.ts";

/** (1 − distinct n-grams / all n-grams) · max_penalty; 0 if there are no n-grams. */
function penalty(items: ArrayLike<string | number>, n: number, max_penalty: number): number {
  const total = items.length - n + 1;
  if (total < 1) return 0;
  const different = new Set<string>();
  for (let i = 0; i < total; i++) {
    let key = "";
    for (let k = 0; k < n; k++) key += `${items[i + k]} `;
    different.add(key);
  }
  const repeated = 1 - different.size / total;
  return repeated === 0 ? 0 : repeated * max_penalty;
}

/**
 * `max_penalty` times the share of repeated n-grams of words, in lower case and separated by white space.
 *
 * @see arXiv:2502.03373, appendix C.2; open-r1's get_repetition_penalty_reward
 */
export function repetitionOfWords(n: number, max_penalty: number): RewardFunction {
  return eachCompletion((text) => {
    const words = text.toLowerCase().split(/\s+/);
    return penalty(
      words.filter((word) => word !== ""),
      n,
      max_penalty,
    );
  });
}

/** The same for n-grams of tokens. @see TRL's get_repetition_penalty_reward */
export function repetitionOfTokens(n: number, max_penalty: number): RewardFunction {
  return (_prompts, _completions, _columns, context) =>
    tokensOf(context, "repetition_penalty_reward").map((ids) => penalty(ids, n, max_penalty));
}
