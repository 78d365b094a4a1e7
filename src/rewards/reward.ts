/** A conversation's messages. */
type Messages = readonly { readonly role: string; readonly content: string }[];

/** A prompt or a completion: plain text, or messages if the data set is conversational. */
export type Turn = string | Messages;

/** Further inputs of a reward function, beside prompts, completions and columns. */
export interface RewardContext {
  /** optimizer step, from 0 */
  step: number;
  /** tokens of each completion, including the end; null if only the text is known */
  completion_ids: readonly ArrayLike<number>[] | null;
  /** aborted when the run ends, another function fails, or this function's time is up */
  signal: AbortSignal;
}

/**
 * Scores a batch of completions.
 *
 * @param prompts one per completion; equal within a group
 * @param completions as text, or as messages, the first of which is the model's
 * @param columns the data set's other columns, one value per completion
 * @returns one finite number per completion, or null if the function does not apply
 */
export type RewardFunction = (
  prompts: readonly Turn[],
  completions: readonly Turn[],
  columns: Readonly<Record<string, readonly unknown[]>>,
  context: RewardContext,
) => readonly (number | null)[] | Promise<readonly (number | null)[]>;

/** A reward function with its name for metrics and messages. */
export interface NamedReward {
  name: string;
  reward: RewardFunction;
}

/** The model's text: the turn itself, or the content of its first message. */
export function textOf(turn: Turn): string {
  return typeof turn === "string" ? turn : (turn[0]?.content ?? "");
}

/** A reward function of one completion's text and its row's columns. */
export function eachCompletion(score: (text: string, row: Record<string, unknown>) => number | null): RewardFunction {
  return (_prompts, completions, columns) => {
    const names = Object.keys(columns);
    return completions.map((completion, i) =>
      score(textOf(completion), Object.fromEntries(names.map((name) => [name, columns[name][i]]))),
    );
  };
}

/** Characters as Python counts them: code points. */
export function lengthOf(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
