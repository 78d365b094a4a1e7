import { DataError } from "../errors.ts";
import { compactJson } from "../text/python-json.ts";
import { decimalKey } from "./decimal.ts";

/**
 * The final answer of a GSM8K solution: the text after its first `####`, without commas, dollar signs and surrounding
 * space.
 *
 * @returns null if there is no `####`
 */
export function extractHashAnswer(text: string): string | null {
  const [, answer] = text.split("####");
  return answer === undefined ? null : withoutCommas(answer);
}

/**
 * The text between a completion's last `<answer>` and the next `</answer>`, trimmed. Without the tags, the whole text.
 */
export function extractXmlAnswer(text: string): string {
  return text.split("<answer>").at(-1)!.split("</answer>")[0].trim();
}

/** A number with thousands separators; not a list such as 1, 2. */
const SEPARATED = /^[+-]?\$?\d{1,3}(?:,\d{3})+(?:\.\d+)?$/;

/**
 * The expected answer of a row: its `answer` column, a number or text. If the text has GSM8K's `#### N`, only that
 * counts. Thousands separators are removed.
 *
 * @throws {DataError} a row without an answer
 */
export function goldAnswer(row: Record<string, unknown>): string {
  const { answer } = row;
  if (typeof answer === "number" || typeof answer === "bigint") return String(answer);
  if (typeof answer !== "string") {
    throw new DataError(
      `the reward compares with the column answer, but the row's answer is ${answer === undefined ? "missing" : compactJson(answer)}; the row's columns: ${Object.keys(row).join(", ") || "none"}`,
    );
  }
  const plain = answer.trim();
  return extractHashAnswer(answer) ?? (SEPARATED.test(plain) ? withoutCommas(plain) : plain);
}

/** Text without thousands separators and dollar signs. */
export function withoutCommas(text: string): string {
  return text.trim().replaceAll(",", "").replaceAll("$", "").trim();
}

const FLOAT = /^[+-]?(?:\d+(?:_\d+)*(?:\.(?:\d+(?:_\d+)*)?)?|\.\d+(?:_\d+)*)(?:e[+-]?\d+)?$/i;
const SPECIAL = /^([+-]?)(?:(inf|infinity)|nan)$/i;

/** Parses a number like Python's float. @returns null if Python raises ValueError */
export function parseFloatStrict(text: string): number | null {
  const trimmed = text.trim();
  if (FLOAT.test(trimmed)) return Number(trimmed.replaceAll("_", ""));
  const special = SPECIAL.exec(trimmed);
  if (!special) return null;
  if (!special[2]) return Number.NaN;
  return special[1] === "-" ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
}

/** Whether Python's float accepts both texts and they are the same number: digit by digit, not as doubles. */
export function sameNumber(a: string, b: string): boolean {
  const [x, y] = [parseFloatStrict(a), parseFloatStrict(b)];
  return x !== null && y !== null && !Number.isNaN(x) && decimalKey(a.trim()) === decimalKey(b.trim());
}

/** The number of non-overlapping occurrences of `part` in `text`. */
export function count(text: string, part: string): number {
  return text.split(part).length - 1;
}
