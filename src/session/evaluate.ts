import type { Message } from "../data/chat-template.ts";
import type { RowImage } from "../data/row-error.ts";
import { type NumberedRow, parsePrompt, rowError } from "../data/rows.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { DataError } from "../errors.ts";
import { type Problem, solve } from "../eval/solve.ts";
import type { Transformer } from "../model/transformer.ts";
import type { SeenImages } from "../model/vision/images.ts";
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
  /** keys of the question's images; absent: none */
  images?: string[];
}

/** A model's score on held-out problems. */
export interface HeldOutResult {
  /** share of problems solved */
  accuracy: number;
  problems: SolvedProblem[];
}

/**
 * Takes the first held-out problems from rows. A row with opened images may have messages instead of question and answer: its last
 * assistant turn is then the text to read.
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
  /** what the model sees of a problem's images */
  see?: (images: readonly RowImage[]) => Promise<SeenImages | null>;
  signal?: AbortSignal;
  /** number of problems answered */
  onProgress?: (done: number, total: number) => void;
}

/** Has a model answer each held-out problem once. */
export async function solveHeldOut(
  model: Transformer,
  tokenizer: Tokenizer,
  problems: readonly Problem[],
  options: HeldOutOptions,
): Promise<HeldOutResult> {
  const longest = Math.max(
    ...problems.map(({ prompt, images = [] }) => {
      const seen = images.reduce((n, { tokens }) => n + tokens, 64);
      return prompt.reduce((n, { content }) => n + textOf(content).length, seen);
    }),
  );
  // counts characters: a text never has more tokens than that
  const slots = slotsFor(model, problems.length, longest + options.max_new_tokens);
  const solved = await solve(model, tokenizer, problems, { ...options, slots });
  const made = problems.map((problem, i) => ({
    question: textOf(problem.prompt.at(-1)!.content),
    gold: problem.reading ? problem.answer : goldAnswer({ answer: problem.answer }),
    completion: solved[i].completions[0],
    answer: problem.reading ? solved[i].completions[0] : (finalAnswer(solved[i].completions[0]) ?? ""),
    correct: solved[i].right[0],
    ...(problem.images && { images: problem.images.map(({ key }) => key) }),
  }));
  return { accuracy: made.filter(({ correct }) => correct).length / made.length, problems: made };
}

function problemOf(given: NumberedRow, system_prompt: string | null): Problem {
  const read = given.images ? readingOf(given) : null;
  const source = read?.source ?? given;
  const { prompt } = parsePrompt(source, { system_prompt });
  if (read && typeof prompt !== "string") return { prompt, answer: read.truth, images: given.images, reading: true };
  const { answer } = source.row;
  if (typeof answer !== "string" && typeof answer !== "number") {
    throw rowError(
      source,
      `held-out problems are graded by the column "answer", and the row has only ${Object.keys(source.row).join(", ")}`,
    );
  }
  const messages: Message[] = typeof prompt === "string" ? [{ role: "user", content: prompt }] : prompt;
  return { prompt: messages, answer: String(answer), ...(given.images && { images: given.images }) };
}

/** A row of messages about images as a prompt, and the text of its last turn; null: it has another form. */
function readingOf(source: NumberedRow): { source: NumberedRow; truth: string } | null {
  const { messages, conversations, completion, ...rest } = source.row;
  const before = Array.isArray(rest.prompt) && Array.isArray(completion) ? [...rest.prompt, ...completion] : null;
  const turns = messages ?? conversations ?? before;
  if (!Array.isArray(turns)) return null;
  const last = turns.at(-1) as Record<string, unknown> | undefined;
  if (last?.role !== "assistant" && last?.from !== "gpt") return null;
  return {
    source: { ...source, row: { ...rest, prompt: turns.slice(0, -1) } },
    truth: textOf(last.content ?? last.value),
  };
}

/** The text of a message: its string, or its parts of text. */
function textOf(content: unknown): string {
  if (!Array.isArray(content)) return String(content);
  return content.map((part) => (typeof part?.text === "string" ? part.text : "")).join("");
}
