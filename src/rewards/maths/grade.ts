// Why no computer-algebra library: @cortex-js/compute-engine 0.140 (MIT) reads nearly all of these answers, but it
// needs Node 22.3, adds 3.3 MB (minified) to a page, and does not end on 9^{9^{9^9}} or a sum of 10^8 terms, with no
// limit to set. It also leaves (r+5)(r+5) = (r+5)^2 and tan^2 y + 1 = sec^2 y undecided. BigInt fractions and values at
// random points decide these.

import { equalAnswers } from "./equal.ts";
import { Budget } from "./evaluate.ts";
import { DEFAULT_ORDER, type ExtractionStep, extractAnswer, FORMULA, goldAnswerIn } from "./extract.ts";
import type { CommaReading } from "./lexer.ts";
import { parseAnswer } from "./parse.ts";
import type { Comparison } from "./scalars.ts";
import { choiceOf, meaningOf, wordsOf } from "./words.ts";

/** Settings for finding and comparing answers. */
export interface GradeOptions {
  /** ways to find the answer in a completion; the first that finds one counts; default {@link DEFAULT_ORDER} */
  order?: readonly ExtractionStep[];
  /**
   * a decimal with at least this many digits after the point matches the number that it rounds; default 6, as in
   * Math-Verify
   */
  precision?: number;
  /** allowed relative error of an answer, such as 1e-4; default null: none */
  tolerance?: number | null;
}

/** The result of a comparison. */
export interface Grade {
  equal: boolean;
  /** the compared texts; `pred` is null if no answer was found */
  gold: string;
  pred: string | null;
  /** the step that found the answer */
  by: ExtractionStep | null;
}

/**
 * Compares a completion, or a bare answer, with the expected answer. Both may be LaTeX or plain text; the expected
 * answer may also be part of a solution, as \boxed or after ####.
 *
 * Ends in milliseconds for any input: texts, nesting, digits and evaluations are limited, and answers above a limit are
 * compared as text.
 *
 * The rules are those of Math-Verify, of the Minerva paper's normalisation (arXiv:2206.14858, appendix D.1) and of
 * Hendrycks' MATH grader.
 */
export function grade(gold: string, pred: string, options: GradeOptions = {}): Grade {
  const { order = DEFAULT_ORDER } = options;
  if (order.includes("whole") && gold.trim() !== "" && pred.length < 3000 && squeezed(gold) === squeezed(pred)) {
    return { equal: true, gold, pred, by: "whole" };
  }
  const expected = goldAnswerIn(gold);
  const found = extractAnswer(pred, order);
  if (found === null) return { equal: false, gold: expected, pred: null, by: null };
  return { equal: mathsEqual(expected, found.answer, options), gold: expected, pred: found.answer, by: found.by };
}

/** Longer answers, in characters, are compared as text. */
const MAX_LENGTH = 5000;

/** Whether two bare answers are equal. */
export function mathsEqual(gold: string, pred: string, options: GradeOptions = {}): boolean {
  if (Math.max(gold.length, pred.length) > MAX_LENGTH) return gold.trim() === pred.trim();
  const [a, b] = [trimmed(gold), trimmed(pred)];
  if (a === "" || b === "") return false;
  if (a === b || squeezed(a) === squeezed(b)) return true;
  const choice = choiceOf(a, false);
  if (choice !== null && choiceOf(b, true) === choice) return true;
  const [words, others] = [wordsOf(a), wordsOf(b)];
  if (words && others && (words.certain || others.certain)) {
    return words.text === others.text || (meaningOf(words.text) ?? "?") === meaningOf(others.text);
  }
  const meant = (text: string, own: typeof words) => (own && meaningOf(own.text)) ?? text;
  return equalInSomeReading(meant(a, words), meant(b, others), {
    budget: new Budget(),
    precision: options.precision ?? 6,
    tolerance: options.tolerance ?? null,
  });
}

/** Readings of commas to try on both sides: thousands separator, list separator, or one side's decimal point. */
const READINGS: readonly (readonly [CommaReading, CommaReading])[] = [
  ["thousands", "thousands"],
  ["list", "list"],
  ["decimal", "thousands"],
  ["thousands", "decimal"],
];

function equalInSomeReading(gold: string, pred: string, comparison: Comparison): boolean {
  const comma = /\d,\d/;
  const [inGold, inPred] = [comma.test(gold), comma.test(pred)];
  return READINGS.some(([goldReading, predReading]) => {
    if (goldReading === "list" && !inGold && !inPred) return false;
    if (goldReading === "decimal" && !(inGold && !inPred)) return false;
    if (predReading === "decimal" && !(inPred && !inGold)) return false;
    const [a, b] = [parseAnswer(gold, goldReading), parseAnswer(pred, predReading)];
    return a !== null && b !== null && equalAnswers(a, b, comparison);
  });
}

/** Removes formula delimiters and the punctuation at a sentence's end. */
function trimmed(answer: string): string {
  let text = answer.replace(FORMULA, (formula) =>
    formula.slice(/^(?:\$\$|\\)/.test(formula) ? 2 : 1).replace(/\$\$?$|\\[)\]]$/, " "),
  );
  text = text.replace(/\\[()[\]]/g, " ").trim();
  while (/(?<!\.)\.$|[,;:\\]$/.test(text)) text = text.slice(0, -1).trim();
  return text;
}

/** Removes white space, except between digits, and formatting commands. */
function squeezed(answer: string): string {
  const plain = answer.replace(/\\(?:text|textbf|mbox|textrm|mathrm)\s*\{([^{}]*)\}/g, "$1");
  return plain.replace(/\\(?:left|right|,|;|!|:| |quad)|(?<!\d)\s+|\s+(?!\d)/g, "").replace(/\\[dt]frac/g, "\\frac");
}
