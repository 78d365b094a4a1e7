import { goldAnswer } from "./answers.ts";
import type { ExtractionStep } from "./maths/extract.ts";
import { grade } from "./maths/grade.ts";
import { eachCompletion, type RewardFunction } from "./reward.ts";

/** Accept only marked answers: in a box, or after "answer is". */
const MARKED: readonly ExtractionStep[] = ["boxed", "answer_is"];

/**
 * Whether a completion's answer equals the row's: its `answer`, or its `solution` if it has no `answer`.
 *
 * @returns null if the row's answer is empty, so that there is nothing to compare with
 * @throws {DataError} a row with neither
 */
export function isCorrect(text: string, row: Record<string, unknown>): boolean | null {
  const gold = goldAnswer({ ...row, answer: row.answer ?? row.solution });
  return gold === "" ? null : grade(gold, text, { order: MARKED }).equal;
}

const asReward = (correct: boolean | null): number | null => (correct === null ? null : Number(correct));

/**
 * 1 if the completion's answer is mathematically equal to the row's, else 0; null if the row's is empty.
 *
 * @see TRL's and open-r1's accuracy_reward, which use Math-Verify; this one uses `maths/grade.ts`
 */
export const accuracyReward: RewardFunction = eachCompletion((text, row) => asReward(isCorrect(text, row)));

/**
 * Like `accuracyReward`, for the text after the last `</think>`; 0 if the reasoning did not end.
 *
 * @see TRL's reasoning_accuracy_reward
 */
export const reasoningAccuracyReward: RewardFunction = eachCompletion((text, row) => {
  const end = text.lastIndexOf("</think>");
  return end < 0 ? 0 : asReward(isCorrect(text.slice(end + "</think>".length), row));
});
