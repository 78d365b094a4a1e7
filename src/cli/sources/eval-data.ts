import { existsSync } from "node:fs";
import { basename } from "node:path";
import { encodePrompt } from "../../data/prompts.ts";
import { type NumberedRow, rowError } from "../../data/rows.ts";
import { type DataSet, optionalText, others, type SetRow, textOf } from "../../data/sets/data-set.ts";
import { embeddedRows } from "../../data/sets/embedded.ts";
import { DATA_SETS, readDataSet } from "../../data/sets/registry.ts";
import { DataError } from "../../errors.ts";
import type { EvalProblem } from "../../eval/evaluate.ts";
import type { HubOptions } from "../../io/hub/hub.ts";
import type { Folder } from "../../io/storage.ts";
import { goldAnswer } from "../../rewards/answers.ts";
import { testsOf } from "../../rewards/code/tests.ts";
import { goldAnswerIn, lastBoxed } from "../../rewards/maths/extract.ts";
import type { PreparedText } from "../../session/generate.ts";
import { show } from "../../text/show.ts";
import { UsageError } from "../args.ts";
import { EMBEDDED_SET, type EvalRequest } from "../flags/eval-flags.ts";
import { openDataset } from "./datasets.ts";
import { openRows } from "./sources.ts";

/** The embedded model's problems. Their level is the number of steps. */
const EMBEDDED: DataSet = {
  name: EMBEDDED_SET,
  about: "200 held-out word problems of the embedded model",
  homes: [],
  task: "maths",
  read({ row, number }) {
    const [{ content }] = row.prompt as { content: string }[];
    const solution = row.answer as string;
    const steps = solution.trim().split("\n").length - 1;
    return {
      problem: content,
      answer: goldAnswer(row),
      solution,
      id: String(number),
      columns: { level: `${steps} ${steps === 1 ? "step" : "steps"}` },
    };
  },
};

const ANSWERS = ["answer", "ground_truth", "expected_answer", "final_answer"];
const TESTS = ["verification_info", "public_test_cases", "private_test_cases", "test_list", "test"];

/** Rows outside the known data sets: a question, and an answer or tests. */
const ROWS: DataSet = {
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

/** The problems of an evaluation. */
interface EvalProblems {
  /** the data set's name in tables */
  dataset: string;
  problems: EvalProblem[];
  /** problems whose prompt leaves no room for an answer */
  tooLong: EvalProblem[];
}

/**
 * Reads the requested problems and tokenises their prompts.
 *
 * @throws {DataError} a row lacks a question, or both an answer and tests; there are no problems; there is no chat template
 */
export async function readProblems(
  asked: EvalRequest,
  prepared: PreparedText,
  model: Folder,
  hub: HubOptions,
): Promise<EvalProblems> {
  if (prepared.chat_template === null) {
    throw new DataError(
      `Cannot ask ${model.path}: its tokenizer has no chat template; name one with --chat_template_path`,
    );
  }
  const known = Object.hasOwn(DATA_SETS, asked.dataset);
  const dataset = known ? asked.dataset : basename(asked.dataset).replace(/\.\w+(\.gz)?$/, "");
  const problems: EvalProblem[] = [];
  for await (const source of await openProblems(asked, dataset, model, hub)) {
    hub.signal?.throwIfAborted();
    problems.push(problemOf(source, asked, prepared));
  }
  if (problems.length === 0) {
    const wanted = Object.entries(asked.where).map(([column, values]) => `${column} ${values.join(" or ")}`);
    throw new DataError(
      `There are no problems to evaluate: ${dataset}${wanted.length ? ` has none with ${wanted.join(" and ")}` : " has no rows"}`,
    );
  }
  const { max_position_embeddings: most } = prepared.config;
  return { dataset, problems, tooLong: problems.filter(({ prompt_ids }) => prompt_ids.length >= most) };
}

async function openProblems(
  asked: EvalRequest,
  dataset: string,
  model: Folder,
  hub: HubOptions,
): Promise<AsyncIterable<NumberedRow>> {
  const { split, limit, where, template, system, config } = asked;
  const common = { ...(limit !== null && { limit }), ...(template !== null && { template }), where };
  if (Object.hasOwn(DATA_SETS, asked.dataset)) {
    const fields = {
      dataset_config: config,
      dataset_format: asked.dataset,
      dataset_options: common,
      system_prompt: system,
    };
    return openDataset(asked.file ?? asked.dataset, split, fields as Parameters<typeof openDataset>[2], hub, model);
  }
  const options = { ...common, system_prompt: system };
  if (asked.dataset === EMBEDDED_SET && !existsSync(EMBEDDED_SET)) {
    if (split !== "test" && split !== "train") {
      throw new UsageError(`The embedded problems have the splits test and train, got ${show(split)}`);
    }
    const rows = embeddedRows(split).map((row, i) => ({ row: { ...row }, number: i + 1, file: EMBEDDED_SET }));
    return readDataSet(EMBEDDED, [{ name: EMBEDDED_SET, rows }], options);
  }
  const rows = await openRows(asked.dataset, { config, split }, hub);
  return readDataSet({ ...ROWS, name: dataset }, [{ name: dataset, rows }], options);
}

function problemOf(source: NumberedRow, asked: EvalRequest, prepared: PreparedText): EvalProblem {
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
    throw rowError(source, "has messages, but --template only applies to a question");
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
