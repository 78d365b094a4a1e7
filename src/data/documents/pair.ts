/** A question–answer pair. */
export interface Pair {
  question: string;
  answer: string;
  /** the steps to the answer; pairs of type `cot` only */
  reasoning?: string;
}
