import { existsSync } from "node:fs";
import { basename } from "node:path";
import type { NumberedRow } from "../../data/rows.ts";
import type { DataSet } from "../../data/sets/data-set.ts";
import { embeddedRows } from "../../data/sets/embedded.ts";
import { DATA_SETS, readDataSet } from "../../data/sets/registry.ts";
import { DataError } from "../../errors.ts";
import type { EvalProblem } from "../../eval/evaluate.ts";
import type { HubOptions } from "../../io/hub/hub.ts";
import type { Folder } from "../../io/storage.ts";
import { goldAnswer } from "../../rewards/answers.ts";
import type { PreparedText } from "../../session/generate.ts";
import { PROBLEM_ROWS, problemOf } from "../../session/problems.ts";
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
    problems.push(problemOf(source, prepared, asked));
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
  return readDataSet({ ...PROBLEM_ROWS, name: dataset }, [{ name: dataset, rows }], options);
}
