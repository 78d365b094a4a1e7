import type { DataPreview } from "../../src/client/types.ts";
import { takeImages } from "../../src/data/images/rows.ts";
import { parsePreference } from "../../src/data/preferences.ts";
import { type NumberedRow, parsePrompt, parseRow } from "../../src/data/rows.ts";
import { QwenchError } from "../../src/errors.ts";
import { formatFileSize } from "../../src/text/bytes.ts";
import { cut } from "../../src/text/show.ts";
import { renamed } from "./library.ts";

const ROWS = 20;
const CELL = 300;
/** Most rows to count. The total of a larger data set stays unknown. */
const COUNTED = 200_000;
/** Time limit for counting, in milliseconds. */
const COUNT_MS = 1500;

/** Other common names of Qwench's columns. */
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
/** Row formats, the most specific first. */
const FORMS = [
  ["prompt", "chosen", "rejected"],
  ["chosen", "rejected"],
  ["messages"],
  ["prompt", "completion"],
  ["question", "answer"],
  ["text"],
  ["prompt"],
  ["question"],
] as const;

/**
 * The first rows as text, with the column mapping that Qwench would use.
 *
 * @throws {DataError} a row cannot be parsed; the message names its file and number
 */
export async function previewRows(rows: AsyncIterable<NumberedRow>): Promise<DataPreview> {
  const first: NumberedRow[] = [];
  let count: number | null = 0;
  const end = performance.now() + COUNT_MS;
  for await (const row of rows) {
    count++;
    if (first.length < ROWS) first.push(row);
    else if (count >= COUNTED || performance.now() > end) {
      count = null;
      break;
    }
  }
  const columns = [...new Set(first.flatMap(({ row }) => Object.keys(row)))];
  const shown = {
    columns,
    rows: first.map(({ row }) => columns.map((name) => cell(row[name]))),
    count,
  };
  if (first.length === 0) return { ...shown, columnsTaken: null, problem: "There are no rows" };
  const taken = await mapping(first, columns);
  return typeof taken === "string"
    ? { ...shown, columnsTaken: null, problem: taken }
    : { ...shown, columnsTaken: taken, problem: null };
}

/** The mapping for the rows, or why there is none. */
async function mapping(
  rows: readonly NumberedRow[],
  columns: readonly string[],
): Promise<Record<string, string> | string> {
  const own = problemOf(rows);
  if (own === null) {
    const form = FORMS.find((names) => names.every((name) => columns.includes(name)));
    return Object.fromEntries((form ?? []).map((name) => [name, name]));
  }
  for (const form of FORMS) {
    const used = new Set<string>();
    const found = form.map((name) => {
      const match = SYNONYMS[name]
        .map((other) => columns.find((column) => column.toLowerCase() === other && !used.has(column)))
        .find(Boolean);
      if (match) used.add(match);
      return [name, match] as const;
    });
    if (found.some(([, match]) => match === undefined)) continue;
    const made = Object.fromEntries(found) as Record<string, string>;
    const mapped: NumberedRow[] = [];
    for await (const row of renamed(rows, made)) mapped.push(row);
    if (problemOf(mapped) === null) return made;
  }
  return own;
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

function cell(value: unknown): string {
  const text = textOf(value);
  return cut(text, CELL);
}

/** A cell as text: a conversation with one line per turn, text unchanged, anything else as JSON. */
function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  if (value === undefined) return "";
  if (Array.isArray(value) && value.length > 0 && value.every(isTurn)) {
    return value.map(({ role, content }) => `${role}: ${contentOf(content)}`).join("\n");
  }
  return JSON.stringify(value, plain) ?? String(value);
}

function isTurn(value: unknown): value is { role: string; content: string | unknown[] } {
  const { role, content } = (value ?? {}) as Record<string, unknown>;
  return typeof role === "string" && (typeof content === "string" || Array.isArray(content));
}

/** The text of a turn, with a word for each image. */
function contentOf(content: string | unknown[]): string {
  if (typeof content === "string") return content;
  return content.map((part) => (part as { text?: unknown } | null)?.text ?? "[image]").join(" ");
}

const plain = (_: string, value: unknown) => {
  if (value instanceof Uint8Array) return `${formatFileSize(value.length)} of bytes`;
  return typeof value === "bigint" ? String(value) : value;
};
