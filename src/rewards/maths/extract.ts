import { isFunction } from "./functions.ts";
import { isUnitWord } from "./units.ts";
import { wordsOf } from "./words.ts";

/**
 * Places to search for a completion's answer: `whole`: a text that is only an answer, or a few words; `answer_tag`: the
 * last <answer>…</answer>; `boxed`: the last \boxed; `answer_is`: after the last "answer is" or "Answer:"; `hash`:
 * after the last ####; `latex`: the last formula; `last_number`: the last number; `last_mention`: the later of these
 * two.
 */
export type ExtractionStep = keyof typeof STEPS;

export const DEFAULT_ORDER: readonly ExtractionStep[] = [
  "whole",
  "answer_tag",
  "boxed",
  "hash",
  "answer_is",
  "last_mention",
];

interface Extracted {
  answer: string;
  by: ExtractionStep;
}

/** Characters at the end of a completion that are searched for formulas and numbers. */
const WINDOW = 20_000;

/**
 * The answer in a completion, from the first step of `order` that finds one. The text after the reasoning (`</think>`)
 * is searched before the reasoning itself.
 *
 * @returns null if there is none
 */
export function extractAnswer(text: string, order: readonly ExtractionStep[] = DEFAULT_ORDER): Extracted | null {
  const thought = text.lastIndexOf("</think>");
  const said = thought < 0 ? text : text.slice(thought + "</think>".length);
  for (const part of thought < 0 ? [said] : [said, text]) {
    for (const step of order) {
      const answer = STEPS[step](part)?.trim();
      if (answer) return { answer, by: step };
    }
  }
  // a few words without a sentence may be the answer itself
  const words = said.trim();
  const few = order.includes("whole") && words !== "" && words.length <= 100 && !words.includes("\n");
  return few ? { answer: words, by: "whole" } : null;
}

/**
 * The expected answer in a solution: \boxed, ####, the text if it is only an answer, a formula at the start of a short
 * explanation, else as in a completion.
 */
export function goldAnswerIn(text: string): string {
  const marked = lastBoxed(text) ?? afterHash(text);
  if (marked !== null && marked.trim() !== "") return marked.trim();
  if (isAnswerAlone(text)) return text.trim();
  const explained = text.length <= 300 ? /^\s*(\$[^$]+\$),?\s+(?:where|for|with|if|when)\b/.exec(text) : null;
  return explained?.[1] ?? extractAnswer(text)?.answer ?? text.trim();
}

const STEPS = {
  whole: (text: string): string | null =>
    isAnswerAlone(text) && !/\\boxed|\\fbox|<answer>|####/.test(text) ? text : null,
  answer_tag: lastTag,
  boxed: lastBoxed,
  answer_is: afterAnswerIs,
  hash: afterHash,
  latex: lastFormula,
  last_number: lastNumber,
  last_mention: lastMentioned,
};

/** The names of all steps. */
export const EXTRACTION_STEPS = Object.keys(STEPS) as readonly ExtractionStep[];

function lastTag(text: string): string | null {
  const start = text.lastIndexOf("<answer>");
  if (start < 0) return null;
  const [inner] = text.slice(start + "<answer>".length).split("</answer>", 1);
  return within(inner);
}

/** The answer in a short text that is marked as an answer. */
function within(inner: string): string | null {
  if (isAnswerAlone(inner) && !/\\boxed|####/.test(inner)) return inner;
  return lastBoxed(inner) ?? afterHash(inner) ?? afterAnswerIs(inner) ?? lastMentioned(inner) ?? inner;
}

function afterHash(text: string): string | null {
  const start = text.lastIndexOf("####");
  if (start < 0) return null;
  return text
    .slice(start + 4)
    .trim()
    .split("\n", 1)[0];
}

interface Box {
  start: number;
  end: number;
  content: string;
}

/** The last \boxed or \fbox, with earlier boxes that are parts of the same answer: \boxed{1} and \boxed{2}. */
export function lastBoxed(text: string): string | null {
  const last = boxBefore(text, text.length);
  if (!last) return null;
  const parts = [last];
  for (let n = 0; n < 30; n++) {
    const before = boxBefore(text, parts[0].start);
    if (!before || !isJoint(text.slice(before.end, parts[0].start))) break;
    parts.unshift(before);
  }
  const contents = [...new Set(parts.map(({ content }) => content))];
  const choice = /\bor\b/.test(text.slice(parts[0].end, last.start));
  return contents.length === 1 ? contents[0] : contents.join(choice ? " \\text{ or } " : ", ");
}

function boxBefore(text: string, end: number): Box | null {
  let at = end;
  for (let tries = 0; tries < 50 && at > 0; tries++) {
    const start = Math.max(text.lastIndexOf("\\boxed", at - 1), text.lastIndexOf("\\fbox", at - 1));
    if (start < 0) return null;
    const box = boxAt(text, start);
    if (box) return box;
    at = start;
  }
  return null;
}

function boxAt(text: string, start: number): Box | null {
  let open = start + (text.startsWith("\\boxed", start) ? 6 : 5);
  while (text[open] === " ") open++;
  if (text[open] !== "{") {
    const token = /^(?:\\[a-zA-Z]+|[^\s$\\}])/.exec(text.slice(open, open + 20))?.[0];
    const number = /^-?\d[\d.,]*/.exec(text.slice(open, open + 30))?.[0].replace(/[.,]+$/, "");
    const content = number ?? token;
    return content ? { start, end: open + content.length, content } : null;
  }
  let depth = 0;
  for (let i = open; i < text.length && i < open + 5000; i++) {
    const c = text[i];
    if (c === "\\") i++;
    else if (c === "{") depth++;
    else if (c === "}" && --depth === 0) return { start, end: i + 1, content: text.slice(open + 1, i) };
  }
  return null;
}

/** Whether the text between two boxes only joins them: commas, "and", a name and =, or words inside the formula. */
function isJoint(between: string): boolean {
  if (between.length > 120) return false;
  const plain = between
    .replace(/\\(?:text|textbf|mbox|mathrm)\s*\{[^{}]*\}/g, " ")
    .replace(/\\[()[\]]|\\(?:q?quad|,|;|:|!| )|\$|[.,;&\\]/g, " ")
    .replace(/\b(?:and|or)\b/g, " ")
    .replace(/\b[a-zA-Z](?:_\{?\w+\}?)?(?:\(\w\))?\s*=/g, " ")
    .trim();
  return !/[a-zA-Z]{2,}|=|\n/.test(plain) && plain.length < 20;
}

const FINAL = /\bfinal\s+answer\s*(?:is|:|=)/gi;
const ANSWER = /\banswer\s*(?:is|:|=|should\s+be|would\s+be|must\s+be|\*\*\s*:?|:\*\*)|答案(?:是|为|：|:)/gi;

/** The text after the last "final answer is", else after the last "answer is" or "Answer:". */
function afterAnswerIs(text: string): string | null {
  const end = text.slice(-WINDOW * 2);
  for (const phrase of [FINAL, ANSWER]) {
    const places = [...end.matchAll(phrase)].map((match) => match.index + match[0].length);
    for (const place of places.reverse().slice(0, 20)) {
      const answer = inSentence(end.slice(place, place + 1000));
      if (answer !== null) return answer;
    }
  }
  return null;
}

/** The answer that a sentence begins with, or mentions last. */
function inSentence(after: string): string | null {
  const text = after.replace(/^[\s:*=]+/, "");
  const formula = /^(?:\\?"|\*\*)?\s*(\$\$[\s\S]+?\$\$|\$(?:\\.|[^$\\])+\$|\\\([\s\S]+?\\\)|\\\[[\s\S]+?\\\])/.exec(
    text,
  );
  const end = sentenceEnd(text);
  if (formula && formula[0].length >= end) return formula[1];
  const sentence = text
    .slice(0, end)
    .replace(/\*\*|\\"|"/g, " ")
    .trim();
  if (sentence === "") return null;
  if (isAnswerAlone(sentence)) return sentence;
  if (formula) return formula[1];
  return lastMentioned(sentence);
}

/** The end of a sentence: a period before white space, or a line's end, outside formulas. */
function sentenceEnd(text: string): number {
  let math = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === "\\") {
      if (text[i + 1] === "(" || text[i + 1] === "[") math = true;
      if (text[i + 1] === ")" || text[i + 1] === "]") math = false;
      i++;
    } else if (c === "$") {
      if (text[i + 1] === "$") i++;
      math = !math;
    } else if (!math && (c === "\n" || ((c === "." || c === "!") && /^(?:\s|$|<)/.test(text.slice(i + 1, i + 2)))))
      return i;
  }
  return text.length;
}

/** The later of the last formula and the last number. */
function lastMentioned(text: string): string | null {
  const formula = lastFormula(text);
  const number = lastNumber(text);
  if (formula === null || number === null) return formula ?? number;
  return text.lastIndexOf(number) > text.lastIndexOf(formula) + formula.length - 1 ? number : formula;
}

/** A formula in delimiters. */
export const FORMULA = /\$\$[\s\S]+?\$\$|\$(?:\\.|[^$\\])+\$|\\\([\s\S]+?\\\)|\\\[[\s\S]+?\\\]/g;

/** The content of the last formula in delimiters, with earlier formulas of the same list. */
function lastFormula(text: string): string | null {
  const found = [...text.slice(-WINDOW).matchAll(FORMULA)];
  const last = found.at(-1);
  if (!last) return null;
  let start = last.index;
  for (let i = found.length - 2; i >= 0 && i > found.length - 30; i--) {
    const between = text.slice(-WINDOW).slice(found[i].index + found[i][0].length, start);
    if (!/^\s*(?:,|;|,?\s*and|,?\s*or)\s*$/.test(between)) break;
    start = found[i].index;
  }
  return text.slice(-WINDOW).slice(start, last.index + last[0].length);
}

// A sign belongs to the number if it touches it, or if nothing before it could be a minuend.
const NUMBER =
  /(?<![\w.])(?:(?<=^|[\s(=:$€£])[-+−](?=[$€£\d.])|(?<=(?:^|[(=:])\s?)[-+−]\s)?[$€£]?\s?(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d{1,3}(?: \d{3})+(?!\d)|\d+(?:[.,]\d+)?|\.\d+)(?:e[+-]?\d+)?(?:\s*\/\s*\d+)?(?:\s?(?:%|percent\b))?/gi;

/** The last number, with its sign and percent. */
function lastNumber(text: string): string | null {
  return [...text.slice(-WINDOW).matchAll(NUMBER)].at(-1)?.[0].trim() ?? null;
}

const CONNECTOR =
  /^(?:and|or|pi|inf|infinity|theta|alpha|beta|percent|pct|percentage|degrees?|mod|dx|dt|oo|np|frac|sqrt)$/i;

/** Short words of sentences; other short words are products of letters. */
const SENTENCE =
  /(?:^|\s)(?:is|it|its|the|not|to|of|in|so|we|are|for|was|has|if|my|you|me|at|as|an|be|by|do|he|she|his|her|but|can|get|got|let|say|see|two|one|all|any|how|why|who|now|new|use|our|had|did|ans|sum)(?=[\s,.;:?!]|$)/i;

/** Whether a text is only an answer: formulas with units and connectors, or a word or two. */
export function isAnswerAlone(text: string): boolean {
  const plain = text.replace(/\$\s+\$/g, " ").trim();
  if (plain === "" || plain.length > 1500 || /\banswer\b/i.test(plain)) return false;
  const marked = plain.replace(FORMULA, " ");
  if (marked !== plain.replace(/\s+/g, " ") && marked.length !== plain.length) {
    // only connectors and units between formulas
    return /^[\s,;.]*$/.test(marked.replace(/[a-zA-Z²³]+\.?/g, (word) => (isPlainWord(word) ? "" : word)));
  }
  if (/\n\s*\n/.test(plain)) return false;
  const outside = plain
    .replace(
      /\\(?:text|mbox|textbf|textit|textrm|textnormal|mathrm|mathbf|operatorname|begin|end|mathbb|mathcal)\s*\*?\{[^{}]*\}/g,
      " ",
    )
    .replace(/\\(?:[a-zA-Z]+|.)/g, "·");
  const words = outside.match(/\p{L}{2,}/gu) ?? [];
  const strange = words.filter((word) => !isPlainWord(word) && word.length > 3);
  if (SENTENCE.test(outside)) return wordsOf(plain)?.certain === true && words.length <= 4;
  if (strange.length === 0)
    return words.length <= 12 && !/[.!?]\s+\S/.test(outside) && (words.length === 0 || !/:\s/.test(outside));
  return wordsOf(plain) !== null && words.length <= 4;
}

function isPlainWord(word: string): boolean {
  return CONNECTOR.test(word) || isUnitWord(word) || isFunction(word.toLowerCase());
}
