import { DataError, QwenchError, RecipeError } from "../errors.ts";
import { oneLine } from "../text/show.ts";
import { takeImages } from "./images/rows.ts";
import { parsePreference } from "./preferences.ts";
import { type NumberedRow, parsePrompt, parseRow, rowError } from "./rows.ts";

/** Qwench's names of columns, each with the data set's own name. */
type Columns = Readonly<Record<string, string>>;

/** What rows are, by their first ones. */
export interface DetectedRows {
  /** in the words of the documents, such as "question and answer"; null: not known */
  form: string | null;
  /** the columns that the form uses; null: not known */
  columns: Columns | null;
  /** columns of the rows that the form does not use; reward functions still get them */
  unused: string[];
  /** why the form is not known, or null */
  problem: string | null;
}

/** A form of rows: its columns, and other common names of each. */
interface Form {
  name: string;
  columns: readonly string[];
  /** columns that are used if they are there */
  also?: readonly string[];
}

/** Other common names of Qwench's columns, in the order of preference. */
const SYNONYMS: Readonly<Record<string, readonly string[]>> = {
  prompt: ["prompt", "instruction", "input", "query", "user"],
  completion: ["completion", "response", "output", "chosen", "assistant", "target"],
  messages: ["messages", "conversations", "conversation", "dialog", "chat"],
  question: ["question", "problem", "prompt", "query", "instruction"],
  answer: ["answer", "solution", "response", "output", "final_answer", "target"],
  text: ["text", "content", "document"],
  chosen: ["chosen", "preferred", "accepted"],
  rejected: ["rejected", "dispreferred", "refused"],
};
/** Columns that several forms use if they are there. */
const CHAT_ALSO = ["system", "tools", "chat_template_kwargs", "images", "image"];

/** The most specific first. */
const FORMS: readonly Form[] = [
  { name: "tokens", columns: ["input_ids"], also: ["labels", "completion_mask", "assistant_masks"] },
  { name: "preference pairs", columns: ["prompt", "chosen", "rejected"], also: CHAT_ALSO },
  { name: "preference pairs, with the prompt in both answers", columns: ["chosen", "rejected"], also: CHAT_ALSO },
  { name: "prompt and completion", columns: ["prompt", "completion"], also: CHAT_ALSO },
  { name: "conversation", columns: ["messages"], also: CHAT_ALSO },
  { name: "conversation in ShareGPT's names", columns: ["conversations"], also: CHAT_ALSO },
  { name: "plain text", columns: ["text"] },
  { name: "question and answer", columns: ["question", "answer"], also: CHAT_ALSO },
  {
    name: "instruction and output, as in Alpaca",
    columns: ["instruction", "output"],
    also: ["input", "history", ...CHAT_ALSO],
  },
  { name: "prompt", columns: ["prompt"], also: CHAT_ALSO },
  { name: "question", columns: ["question"], also: CHAT_ALSO },
  { name: "problem", columns: ["problem"], also: CHAT_ALSO },
  { name: "instruction", columns: ["instruction"], also: ["input", "history", ...CHAT_ALSO] },
];

/**
 * Recognises the form of rows by their columns: as they are, else under other common names.
 *
 * @param rows the first ones of a data set
 */
export function detectRows(rows: readonly NumberedRow[]): DetectedRows {
  const names = [...new Set(rows.flatMap(({ row }) => Object.keys(row ?? {})))];
  if (rows.length === 0) return { form: null, columns: null, unused: [], problem: "There are no rows" };
  const problem = problemOf(rows);
  if (problem === null) {
    const form = FORMS.find(({ columns }) => columns.every((name) => names.includes(name) && filled(rows, name)));
    return found(form ?? null, names, Object.fromEntries((form?.columns ?? []).map((name) => [name, name])));
  }
  for (const form of FORMS) {
    const columns = guess(form, names);
    if (!columns) continue;
    if (problemOf(rows.map((row) => renamedRow(row, columns))) === null) return found(form, names, columns);
  }
  return { form: null, columns: null, unused: names, problem };
}

function found(form: Form | null, names: readonly string[], columns: Columns): DetectedRows {
  const used = new Set([...Object.values(columns), ...(form?.also ?? [])]);
  return { form: form?.name ?? null, columns, unused: names.filter((name) => !used.has(name)), problem: null };
}

const filled = (rows: readonly NumberedRow[], name: string) => rows.some(({ row }) => (row[name] ?? null) !== null);

/** A mapping of a form's columns to names that are there; null if one is missing. */
function guess({ columns }: Form, names: readonly string[]): Columns | null {
  const used = new Set<string>();
  const mapping: Record<string, string> = {};
  for (const name of columns) {
    const match = (SYNONYMS[name] ?? [name])
      .map((other) => names.find((one) => one.toLowerCase() === other && !used.has(one)))
      .find((one) => one !== undefined);
    if (match === undefined) return null;
    used.add(match);
    mapping[name] = match;
  }
  return mapping;
}

/** Why these rows are neither preferences, examples nor prompts, or null if they are. */
function problemOf(given: readonly NumberedRow[]): string | null {
  let rows = given;
  try {
    rows = given.map((source) => {
      const taken = takeImages(source);
      return taken ? { ...source, row: taken.row, images: [] } : source;
    });
    if (rows.every(({ row }) => "chosen" in row && "rejected" in row)) {
      for (const row of rows) parsePreference(row);
      return null;
    }
    for (const row of rows) parseRow(row);
    return null;
  } catch (error) {
    if (!(error instanceof QwenchError)) throw error;
    try {
      for (const row of rows) parsePrompt(row);
      return null;
    } catch {
      return error.message;
    }
  }
}

/** Columns that determine a row's form. A mapping drops those that it does not name; the others are the rewards' inputs. */
const READ = new Set("input_ids labels prompt completion messages conversations text question problem".split(" "));

/** A row whose columns have Qwench's names. A column of such a name that the mapping does not use is left out. */
function renamedRow(source: NumberedRow, columns: Columns): NumberedRow {
  const names = Object.entries(columns);
  if (names.length === 0) return source;
  const others = Object.entries(source.row).filter(([name]) => !READ.has(name));
  const row = {
    ...Object.fromEntries(others),
    ...Object.fromEntries(names.map(([name, own]) => [name, source.row[own]])),
  };
  return { ...source, row };
}

/**
 * Rows whose columns have Qwench's names.
 *
 * @throws {DataError} the first row lacks a column; the message lists those that it has
 */
export async function* renamedRows(
  rows: AsyncIterable<NumberedRow> | Iterable<NumberedRow>,
  columns: Columns,
): AsyncGenerator<NumberedRow> {
  let first = true;
  for await (const source of rows) {
    const missing = first && Object.values(columns).find((name) => !(name in (source.row ?? {})));
    if (missing) {
      const there = Object.keys(source.row).slice(0, 20).join(", ");
      throw rowError(source, `has no column ${oneLine(missing)}, which columns names; it has ${there || "none"}`);
    }
    first = false;
    yield renamedRow(source, columns);
  }
}

const NAMES = [
  ...new Set([...Object.keys(SYNONYMS), ...FORMS.flatMap(({ columns, also = [] }) => [...columns, ...also])]),
];

/**
 * Columns as a recipe and a command line write them: `prompt=q,completion=a`.
 *
 * @throws {RecipeError} anything else; the message lists Qwench's names
 */
export function parseColumns(text: string): Columns {
  const pairs = text.split(",").map((part) => {
    const at = part.indexOf("=");
    return [part.slice(0, at).trim(), part.slice(at + 1).trim(), at] as const;
  });
  for (const [name, own, at] of pairs) {
    if (at > 0 && own !== "" && NAMES.includes(name)) continue;
    throw new RecipeError(
      `columns must be Qwench's names with the data set's, such as prompt=q,completion=a, not ${JSON.stringify(text)}; Qwench's names: ${NAMES.join(", ")}`,
    );
  }
  const names = pairs.map(([name]) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice) throw new RecipeError(`columns names ${twice} twice: ${JSON.stringify(text)}`);
  return Object.fromEntries(pairs.map(([name, own]) => [name, own]));
}

/** The inverse of `parseColumns`. */
export function formatColumns(columns: Columns): string {
  return Object.entries(columns)
    .map(([name, own]) => `${name}=${own}`)
    .join(",");
}

/** Rows of a recipe's data set, under the names that its `columns` give. */
export function withColumns(
  rows: AsyncIterable<NumberedRow>,
  columns: string | null | undefined,
): AsyncIterable<NumberedRow> {
  if (columns === null || columns === undefined) return rows;
  const parsed = parseColumns(columns);
  if (Object.keys(parsed).length === 0) throw new DataError("columns names none");
  return renamedRows(rows, parsed);
}
