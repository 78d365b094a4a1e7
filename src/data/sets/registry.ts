import { NotFoundError, RecipeError } from "../../errors.ts";
import { isObject } from "../../text/json.ts";
import { show } from "../../text/show.ts";
import type { NumberedRow } from "../rows.ts";
import { CODE_SETS } from "./code.ts";
import type { DataSet, Problem, SetRow } from "./data-set.ts";
import { completionOf, FORMS, type Form } from "./forms.ts";
import { MATHS_SETS } from "./maths.ts";
import { onSide, type Shares, solutionsByProblem } from "./select.ts";

/** Every data set that a recipe can name. */
export const DATA_SETS: Readonly<Record<string, DataSet>> = Object.fromEntries(
  [...MATHS_SETS, ...CODE_SETS].map((set) => [set.name, set]),
);

/** A data set by its name. @throws {NotFoundError} an unknown name; the message lists the known ones */
export function dataSetNamed(name: string): DataSet {
  if (!Object.hasOwn(DATA_SETS, name)) {
    throw new NotFoundError(`There is no data set ${show(name)}; data sets: ${Object.keys(DATA_SETS).join(", ")}`);
  }
  return DATA_SETS[name];
}

/** The format and selection of a data set's rows. */
export interface SetOptions {
  /** the system message before the question */
  system_prompt?: string | null;
  /** template around the question, which replaces {problem}; default: the data set's own */
  template?: string;
  /** format of solutions; default: text */
  form?: Form;
  /** leaves out rows whose reasoning has more tokens, and rows without reasoning */
  max_reasoning_tokens?: number;
  min_reasoning_tokens?: number;
  /** only rows with one of these values in a column, such as {level: [1, 2]} */
  where?: Readonly<Record<string, unknown>>;
  /** number of problems to take, with `solutions` each */
  problems?: number;
  solutions?: number;
  /** splits the problems: names and shares */
  shares?: Shares;
  /** seed of the split; default 42 */
  split_seed?: number;
  /** the side of `shares` to read */
  side?: string;
  /** most rows */
  limit?: number;
  /** counts the tokens of a text; required by the filter on reasoning length */
  count_tokens?: (text: string) => number;
}

/** Options that are allowed in a recipe's `dataset_options`. */
const RECIPE_OPTIONS = [
  "template",
  "form",
  "max_reasoning_tokens",
  "min_reasoning_tokens",
  "where",
  "problems",
  "solutions",
  "shares",
  "split_seed",
  "limit",
] as const;

const WHOLE: readonly string[] = ["max_reasoning_tokens", "min_reasoning_tokens", "problems", "solutions", "limit"];

/** Reads a recipe's `dataset_options`. @throws {RecipeError} an unknown name or an invalid value */
export function readSetOptions(given: Readonly<Record<string, unknown>>): SetOptions {
  const refuse = (name: string, rule: string): never => {
    throw new RecipeError(`dataset_options.${name} must be ${rule}, got ${show(given[name])}`);
  };
  for (const [name, value] of Object.entries(given)) {
    if (!(RECIPE_OPTIONS as readonly string[]).includes(name)) {
      throw new RecipeError(`dataset_options takes ${RECIPE_OPTIONS.join(", ")}, got ${show(name)}`);
    }
    const whole = typeof value === "number" && Number.isSafeInteger(value);
    const object = isObject(value);
    if (WHOLE.includes(name) && !(whole && value >= 1)) refuse(name, "a whole number of at least 1");
    if (name === "split_seed" && !whole) refuse(name, "a whole number");
    if (name === "template" && !(typeof value === "string" && value.includes("{problem}"))) {
      refuse(name, "text with {problem} in it");
    }
    if (name === "form" && !FORMS.includes(value as Form)) refuse(name, `one of ${FORMS.join(", ")}`);
    if (name === "where" && !object) refuse(name, "a mapping of columns to values");
    if (name === "shares" && !(object && Object.values(value).every((share) => typeof share === "number"))) {
      refuse(name, "a mapping of names to shares");
    }
  }
  return given as SetOptions;
}

/** Rows of one part of a data set. */
export interface Part {
  /** label of its rows; default: the file's name without folder and extension */
  name?: string;
  rows: AsyncIterable<NumberedRow> | Iterable<NumberedRow>;
}

/**
 * Streams the rows of a data set, in the form for training and evaluation.
 *
 * @throws {DataError} a row that lacks a column, with its file and number; fewer problems than requested
 */
export async function* readDataSet(
  set: DataSet,
  parts: readonly Part[] | AsyncIterable<Part>,
  options: SetOptions = {},
): AsyncGenerator<NumberedRow> {
  let rows: AsyncIterable<SetRow> = written(set, parts, options);
  if (options.shares) rows = onSide(rows, options.side ?? "train", options.shares, options.split_seed ?? 42);
  if (options.problems !== undefined || options.solutions !== undefined) {
    rows = solutionsByProblem(rows, options.problems ?? null, options.solutions ?? 1);
  }
  let count = 0;
  for await (const row of rows) {
    yield { row, number: row.global_id + 1, file: set.name };
    // yield at once: the next row may be in a file that is not downloaded yet
    if (++count >= (options.limit ?? Number.POSITIVE_INFINITY)) return;
  }
}

async function* written(
  set: DataSet,
  parts: readonly Part[] | AsyncIterable<Part>,
  options: SetOptions,
): AsyncGenerator<SetRow> {
  let global_id = 0;
  for await (const part of parts) {
    for await (const source of part.rows) {
      const name = part.name ?? nameOf(source.file);
      const problem = await set.read(source, name);
      if (problem === null) continue;
      const row = asRow(set, problem, name, global_id++, options);
      if (isLong(problem, options) && isWanted(row, options)) yield row;
    }
  }
}

function asRow(set: DataSet, read: Problem, part: string, global_id: number, options: SetOptions): SetRow {
  const { problem, answer, solution, code, id, columns } = read;
  const template = options.template ?? set.template ?? "{problem}";
  const system = options.system_prompt ? [{ role: "system", content: options.system_prompt }] : [];
  const completion = completionOf(read, options.form ?? "text");
  return {
    ...columns,
    source_dataset: typeof columns.source_dataset === "string" ? columns.source_dataset : part,
    prompt: [...system, { role: "user", content: template.replace("{problem}", () => problem) }],
    ...(completion !== undefined && { completion: [{ role: "assistant", content: completion }] }),
    problem,
    ...(answer !== undefined && { answer }),
    ...(solution !== undefined ? { solution } : code !== undefined && { solution: code }),
    original_id: id,
    global_id,
  };
}

function isLong({ reasoning }: Problem, options: SetOptions): boolean {
  const { max_reasoning_tokens: most, min_reasoning_tokens: least, count_tokens } = options;
  if (most === undefined && least === undefined) return true;
  if (!count_tokens)
    throw new RecipeError("max_reasoning_tokens and min_reasoning_tokens need a tokenizer to count with");
  if (reasoning === undefined) return false;
  const count = count_tokens(reasoning);
  return count <= (most ?? Number.POSITIVE_INFINITY) && count >= (least ?? 0);
}

function isWanted(row: SetRow, { where }: SetOptions): boolean {
  return Object.entries(where ?? {}).every(([column, wanted]) =>
    (Array.isArray(wanted) ? wanted : [wanted]).some((value) => String(value) === String(row[column])),
  );
}

function nameOf(file: string): string {
  return file.replace(/^.*[\\/]/, "").replace(/\.(?:jsonl|ndjson|json|csv|tsv|parquet)?(?:\.gz)?$/, "");
}
