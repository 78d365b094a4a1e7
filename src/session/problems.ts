import { encodePrompt } from "../data/prompts.ts";
import { type NumberedRow, rowError } from "../data/rows.ts";
import { type DataSet, optionalText, others, type SetRow, textOf } from "../data/sets/data-set.ts";
import { DataError } from "../errors.ts";
import type { EvalProblem } from "../eval/evaluate.ts";
import { testsOf } from "../rewards/code/tests.ts";
import { goldAnswerIn, lastBoxed } from "../rewards/maths/extract.ts";
import type { PreparedText } from "./generate.ts";

const ANSWERS = ["answer", "ground_truth", "expected_answer", "final_answer"];
const TESTS = ["verification_info", "public_test_cases", "private_test_cases", "test_list", "test"];

/** Rows outside the known data sets: a question, and an answer or tests. */
export const PROBLEM_ROWS: DataSet = {
  name: "rows",
  about: "any rows with a question and either an answer or tests",
  homes: [],
  task: "maths",
  read(source) {
    const { row } = source;
    const turns = [row.prompt, row.messages].find(Array.isArray);
    const asked = turns?.findLast((turn) => turn?.role === "user" || turn?.from === "human");
    const question = asked?.content ?? asked?.value;
    if (turns && typeof question !== "string") throw rowError(source, "its messages have no user turn with text");
    const problem = turns ? question : textOf(source, "problem", "question", "prompt");
    if (problem.trim() === "") throw rowError(source, "its question is empty");
    const given = optionalText(source, ...ANSWERS);
    const solution = optionalText(source, "solution");
    const answer = given === undefined ? lastBoxed(solution ?? "") : goldAnswerIn(given);
    if (answer === null && !TESTS.some((name) => name in row)) {
      throw rowError(source, `has no expected answer: it needs ${ANSWERS.join(" or ")}, or tests`);
    }
    return {
      problem,
      ...(answer !== null && { answer }),
      solution,
      id: optionalText(source, "original_id", "id", "unique_id") ?? String(source.number),
      columns: {
        ...others(source, "problem", "question", "prompt", "messages", ...ANSWERS),
        ...(turns && { messages: untilAnswer(turns) }),
      },
    };
  },
};

/** A conversation without its final assistant turns, which the model is to write. */
function untilAnswer(turns: readonly { role?: string; from?: string }[]): unknown[] {
  const last = turns.findLastIndex(({ role, from }) => !["assistant", "gpt"].includes(role ?? from ?? ""));
  return turns.slice(0, last + 1);
}

/**
 * The problem of a row that `readDataSet` has read, with its prompt's tokens.
 *
 * @param asked system message, and the text around questions, which rows with messages may not have
 * @throws {DataError} the row has neither an answer nor tests; the template applies to messages
 */
export function problemOf(
  source: NumberedRow,
  prepared: Pick<PreparedText, "tokenizer" | "chat_template" | "config">,
  asked: { system: string | null; template: string | null },
): EvalProblem {
  const row = source.row as SetRow;
  const { answer, solution, url } = row;
  const level = [row.level, row.difficulty].find((value) => ["string", "number", "bigint"].includes(typeof value));
  let tests: EvalProblem["tests"] = null;
  try {
    if (answer === undefined) tests = testsOf(row);
  } catch (error) {
    throw error instanceof DataError ? rowError(source, error.message.replace(/^a code reward/, "it")) : error;
  }
  const turns = Array.isArray(row.messages) ? row.messages : null;
  if (turns && asked.template !== null)
    throw rowError(source, "has messages, but a template only applies to a question");
  const { prompt_ids } = encodePrompt(
    { ...source, row: { prompt: turns ?? row.prompt, chat_template_kwargs: row.chat_template_kwargs } },
    {
      tokenizer: prepared.tokenizer,
      chat_template: prepared.chat_template,
      system_prompt: asked.system,
      vocab_size: prepared.config.vocab_size,
    },
  );
  return {
    global_id: row.global_id,
    original_id: row.original_id,
    source_dataset: row.source_dataset,
    problem: row.problem,
    ground_truth: answer ?? null,
    tests,
    prompt_ids,
    ...(level !== undefined && { difficulty: String(level) }),
    ...(typeof solution === "string" && { solution }),
    ...(typeof url === "string" && { url }),
  };
}
