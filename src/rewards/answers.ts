import { DataError } from "../errors.ts";
import { compactJson } from "../text/python-json.ts";
import { decimalKey } from "./decimal.ts";

/**
 * The final answer of a GSM8K solution: what follows its first `####`, without commas, dollar signs and surrounding space.
 *
 * @returns null where there is no `####`
 */
export function extractHashAnswer(text: string): string | null {
  const [, answer] = text.split("####");
  return answer === undefined ? null : withoutCommas(answer);
}

/**
 * What a completion holds between its last `<answer>` and the next `</answer>`, trimmed. Without the tags, all of it.
 */
export function extractXmlAnswer(text: string): string {
  return text.split("<answer>").at(-1)!.split("</answer>")[0].trim();
}

/** A number with thousands separators; not a list such as 1, 2. */
const SEPARATED = /^[+-]?\$?\d{1,3}(?:,\d{3})+(?:\.\d+)?$/;

/**
 * The expected answer of a row: its `answer` column, a number or text, of which GSM8K's `#### N` counts where it is there.
 * Numbers lose their thousands separators.
 *
 * @throws {DataError} a row without an answer
 */
export function goldAnswer(row: Record<string, unknown>): string {
  const { answer } = row;
  if (typeof answer === "number" || typeof answer === "bigint") return String(answer);
  if (typeof answer !== "string") {
    throw new DataError(
      `the reward compares with the column answer, and the row's is ${answer === undefined ? "missing" : compactJson(answer)}; its columns: ${Object.keys(row).join(", ") || "none"}`,
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

/** Reads a number as Python's float does. @returns null where Python raises ValueError */
export function parseFloatStrict(text: string): number | null {
  const trimmed = text.trim();
  if (FLOAT.test(trimmed)) return Number(trimmed.replaceAll("_", ""));
  const special = SPECIAL.exec(trimmed);
  if (!special) return null;
  if (!special[2]) return Number.NaN;
  return special[1] === "-" ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
}

/** Whether two texts are numbers as Python's float reads them, and the same one: digit by digit, not as doubles. */
export function sameNumber(a: string, b: string): boolean {
  const [x, y] = [parseFloatStrict(a), parseFloatStrict(b)];
  return x !== null && y !== null && !Number.isNaN(x) && decimalKey(a.trim()) === decimalKey(b.trim());
}

/** How often `part` occurs in `text`, occurrences that overlap counted once. */
export function count(text: string, part: string): number {
  return text.split(part).length - 1;
}
