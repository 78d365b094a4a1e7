import { goldAnswer } from "./answers.ts";
import type { ExtractionStep } from "./maths/extract.ts";
import { grade } from "./maths/grade.ts";
import { eachCompletion, type RewardFunction } from "./reward.ts";

/** An answer counts where it was marked as one: in a box, or behind "answer is". */
const MARKED: readonly ExtractionStep[] = ["boxed", "answer_is"];

/**
 * Whether a completion's answer is the row's: its `answer`, or where it has none its `solution`.
 *
 * @returns null where the row's is empty, so that there is nothing to compare with
 * @throws {DataError} a row with neither
 */
export function isCorrect(text: string, row: Record<string, unknown>): boolean | null {
  const gold = goldAnswer({ ...row, answer: row.answer ?? row.solution });
  return gold === "" ? null : grade(gold, text, { order: MARKED }).equal;
}

const asReward = (correct: boolean | null): number | null => (correct === null ? null : Number(correct));

/**
 * 1 where the completion's answer equals the row's as mathematics, else 0; null where the row's is empty.
 *
 * @see TRL's accuracy_reward and open-r1's, which compare with Math-Verify; here `maths/grade.ts` does
 */
export const accuracyReward: RewardFunction = eachCompletion((text, row) => asReward(isCorrect(text, row)));

/**
 * As `accuracyReward`, of what follows the last `</think>`; 0 where the reasoning has not ended.
 *
 * @see TRL's reasoning_accuracy_reward
 */
export const reasoningAccuracyReward: RewardFunction = eachCompletion((text, row) => {
  const end = text.lastIndexOf("</think>");
  return end < 0 ? 0 : asReward(isCorrect(text.slice(end + "</think>".length), row));
});
