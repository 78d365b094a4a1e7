import { count, goldAnswer, parseFloatStrict, sameNumber } from "./answers.ts";
import { eachCompletion, type RewardFunction } from "./reward.ts";

/** Marks around the working and the answer. */
interface FormatTags {
  reasoning_start: string;
  reasoning_end: string;
  solution_start: string;
  solution_end: string;
}

/** The tags of Unsloth's notebook. */
const UNSLOTH_TAGS: FormatTags = {
  reasoning_start: "<start_working_out>",
  reasoning_end: "<end_working_out>",
  solution_start: "<SOLUTION>",
  solution_end: "</SOLUTION>",
};

/** Rewards for one set of tags. */
interface FormatRewards {
  /**
   * 3 if a line begins (after white space) with working between its tags, followed later by a solution between its tags
   * at a line's end; else 0.
   */
  match_format_exactly: RewardFunction;
  /** For each of the four tags: 0.5 if it occurs exactly once, else −0.5. */
  match_format_approximately: RewardFunction;
  /**
   * Compares the solution of a completion in exact format with the expected answer: 3 if identical, 1.5 if identical
   * except for surrounding white space; else by the ratio of the two numbers: 0.5 (0.9 to 1.1), 0.25 (0.8 to 1.2) or
   * −1, and −0.5 if there is no ratio. 0 if the format does not match.
   */
  check_answer: RewardFunction;
  /** 1.5 if the first number after the solution's tag is the expected one, else 0; commas are ignored. */
  check_numbers: RewardFunction;
}

/**
 * Format and answer rewards with partial credit.
 *
 * @see Unsloth's Gemma3_(1B)-GRPO notebook, github.com/unslothai/notebooks; signs and thousands separators in
 *   `check_numbers` are read as in its later notebooks
 */
export function formatRewards(tags: FormatTags = UNSLOTH_TAGS): FormatRewards {
  const solutionOf = (text: string) => exactSolution(text, tags);
  const open = tags.solution_start.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const number = new RegExp(`${open}.*?(-?[\\d.,]+)`, "s");
  return {
    match_format_exactly: eachCompletion((text) => (solutionOf(text) === null ? 0 : 3)),
    match_format_approximately: eachCompletion((text) =>
      Object.values(tags).reduce((score, tag) => score + (count(text, tag) === 1 ? 0.5 : -0.5), 0),
    ),
    check_answer: eachCompletion((text, row) => {
      const gold = goldAnswer(row);
      const guess = solutionOf(text);
      if (guess === null) return 0;
      if (guess === gold) return 3;
      if (guess.trim() === gold) return 1.5;
      const [a, b] = [parseFloatStrict(guess), parseFloatStrict(gold)];
      if (a === null || b === null || b === 0) return -0.5;
      const ratio = a / b;
      if (ratio >= 0.9 && ratio <= 1.1) return 0.5;
      return ratio >= 0.8 && ratio <= 1.2 ? 0.25 : -1;
    }),
    check_numbers: eachCompletion((text, row) => {
      const guess = (number.exec(text)?.[1] ?? "").replaceAll(",", "");
      return sameNumber(guess, goldAnswer(row).replaceAll(",", "")) ? 1.5 : 0;
    }),
  };
}

/**
 * The capture of the multi-line pattern `^\s*start.+?end.*?open(.+?)close\s*$`, without backtracking: the first
 * position of each tag is sufficient.
 */
function exactSolution(text: string, tags: FormatTags): string | null {
  let start = text.indexOf(tags.reasoning_start);
  const begins = (at: number) => text.slice(text.lastIndexOf("\n", at - 1) + 1, at).trim() === "";
  while (start > 0 && !begins(start)) start = text.indexOf(tags.reasoning_start, start + 1);
  if (start < 0) return null;
  const working = start + tags.reasoning_start.length;
  const end = text.indexOf(tags.reasoning_end, working + 1);
  if (end < 0) return null;
  const open = text.indexOf(tags.solution_start, end + tags.reasoning_end.length);
  if (open < 0) return null;
  const solution = open + tags.solution_start.length;
  const lineEnd = /[^\S\n]*(?:\n|$)/y;
  for (let close = text.indexOf(tags.solution_end, solution + 1); close >= 0; ) {
    lineEnd.lastIndex = close + tags.solution_end.length;
    if (lineEnd.test(text)) return text.slice(solution, close);
    close = text.indexOf(tags.solution_end, close + 1);
  }
  return null;
}
