import type { Message } from "../data/chat-template.ts";
import { type NumberedRow, parsePrompt, rowError } from "../data/rows.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { DataError } from "../errors.ts";
import { type Problem, solve } from "../eval/solve.ts";
import type { Transformer } from "../model/transformer.ts";
import { goldAnswer } from "../rewards/answers.ts";
import { finalAnswer } from "../rewards/final-answer.ts";
import { slotsFor } from "../train/grpo/rollout.ts";

/** A held-out problem with the model's answer. */
export interface SolvedProblem {
  question: string;
  gold: string;
  completion: string;
  answer: string;
  correct: boolean;
}

/** A model's score on held-out problems. */
export interface HeldOutResult {
  /** share of problems solved */
  accuracy: number;
  problems: SolvedProblem[];
}

/**
 * Takes the first held-out problems from rows.
 *
 * @param system_prompt for questions without a system message
 * @throws {DataError} a row has no question or answer; there are no rows
 */
export async function heldOutProblems(
  rows: AsyncIterable<NumberedRow> | Iterable<NumberedRow>,
  count: number,
  system_prompt: string | null = null,
): Promise<Problem[]> {
  const problems: Problem[] = [];
  for await (const row of rows) {
    problems.push(problemOf(row, system_prompt));
    if (problems.length >= count) break;
  }
  if (problems.length === 0) throw new DataError("Cannot evaluate: there are no held-out problems");
  return problems;
}

/** How the model answers held-out problems. */
export interface HeldOutOptions {
  max_new_tokens: number;
  /** 0, the default, takes the most probable token */
  temperature?: number;
  signal?: AbortSignal;
  /** number of problems answered */
  onProgress?: (done: number, total: number) => void;
  /** a problem is answered and graded; `index` is its place among the problems */
  onSolved?: (index: number, problem: SolvedProblem) => void;
}

/** Has a model answer each held-out problem once. */
export async function solveHeldOut(
  model: Transformer,
  tokenizer: Tokenizer,
  problems: readonly Problem[],
  options: HeldOutOptions,
): Promise<HeldOutResult> {
  const longest = Math.max(
    ...problems.map(({ prompt }) => prompt.reduce((n, { content }) => n + String(content).length, 64)),
  );
  // counts characters: a text never has more tokens than that
  const slots = slotsFor(model, problems.length, longest + options.max_new_tokens);
  const { onSolved, ...rest } = options;
  const graded = ({ prompt, answer }: Problem, completion: string, correct: boolean): SolvedProblem => ({
    question: String(prompt.at(-1)!.content),
    gold: goldAnswer({ answer }),
    completion,
    answer: finalAnswer(completion) ?? "",
    correct,
  });
  const tell = (i: number, completion: string, right: boolean) => onSolved?.(i, graded(problems[i], completion, right));
  const solved = await solve(model, tokenizer, problems, { ...rest, slots, onSolved: onSolved && tell });
  const made = problems.map((problem, i) => graded(problem, solved[i].completions[0], solved[i].right[0]));
  return { accuracy: made.filter(({ correct }) => correct).length / made.length, problems: made };
}

function problemOf(source: NumberedRow, system_prompt: string | null): Problem {
  const { prompt } = parsePrompt(source, { system_prompt });
  const { answer } = source.row;
  if (typeof answer !== "string" && typeof answer !== "number") {
    throw rowError(
      source,
      `held-out problems are graded by the column "answer", and the row has only ${Object.keys(source.row).join(", ")}`,
    );
  }
  const messages: Message[] = typeof prompt === "string" ? [{ role: "user", content: prompt }] : prompt;
  return { prompt: messages, answer: String(answer) };
}
