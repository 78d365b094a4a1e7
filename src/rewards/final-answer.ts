import { extractHashAnswer, extractXmlAnswer, sameNumber, withoutCommas } from "./answers.ts";

const NUMBER = /[+-]?\$?\d[\d,]*(?:\.\d+)?/g;

/**
 * What a completion gives as its answer, whatever its form: the content of `<answer>` where the tag is there, else what
 * follows `####` on its line, else its last number. For comparing models that were taught different forms.
 *
 * @returns without thousands separators and dollar signs; null where there is no number at all
 */
export function finalAnswer(text: string): string | null {
  if (text.includes("<answer>")) return withoutCommas(extractXmlAnswer(text));
  const hash = extractHashAnswer(text);
  if (hash !== null) return hash.split("\n")[0].trim();
  const last = text.match(NUMBER)?.at(-1);
  return last === undefined ? null : withoutCommas(last);
}

/** Whether a completion's final answer is the expected one, as a number where both are: 12.0 is 12. */
export function isRight(text: string, expected: string): boolean {
  const found = finalAnswer(text);
  return found !== null && (found === expected || sameNumber(found, expected));
}
