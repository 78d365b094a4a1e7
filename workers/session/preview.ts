import type { DataPreview } from "../../src/client/types.ts";
import { detectRows } from "../../src/data/columns.ts";
import type { NumberedRow } from "../../src/data/rows.ts";
import { formatFileSize } from "../../src/text/bytes.ts";
import { cut } from "../../src/text/show.ts";

const ROWS = 20;
const CELL = 300;
/** Most rows to count. The total of a larger data set stays unknown. */
const COUNTED = 200_000;
/** Time limit for counting, in milliseconds. */
const COUNT_MS = 1500;

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
  const { form, columns: columnsTaken, unused, problem } = detectRows(first);
  return { ...shown, form, columnsTaken, unused, problem };
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
