import { extractHashAnswer, extractXmlAnswer, sameNumber, withoutCommas } from "./answers.ts";

const NUMBER = /[+-]?\$?\d[\d,]*(?:\.\d+)?/g;

/**
 * A completion's answer in any format: the content of `<answer>` if there is one, else the text after `####` on its
 * line, else the last number. For comparing models that were trained on different formats.
 *
 * @returns the answer without thousands separators and dollar signs; null if there is no number
 */
export function finalAnswer(text: string): string | null {
  if (text.includes("<answer>")) return withoutCommas(extractXmlAnswer(text));
  const hash = extractHashAnswer(text);
  if (hash !== null) return hash.split("\n")[0].trim();
  const last = text.match(NUMBER)?.at(-1);
  return last === undefined ? null : withoutCommas(last);
}

/** Whether a completion's final answer is the expected one, compared as numbers if both are: 12.0 is 12. */
export function isRight(text: string, expected: string): boolean {
  const found = finalAnswer(text);
  return found !== null && (found === expected || sameNumber(found, expected));
}
