import { isObject } from "../../text/json.ts";
import type { Pair } from "./pair.ts";

/** The reply that a prompt asks for. */
export type ReplyShape =
  | { kind: "text" }
  /** a list of objects with these texts */
  | { kind: "pairs"; fields: readonly (keyof Pair)[] }
  /** a list of `{id, rating}` or `{id, supported}`, with ids from 1 to count */
  | { kind: "marks"; field: "rating" | "supported"; count: number };

/** Longest reply that is searched for JSON, in characters: a longer one is cut. */
const LONGEST = 200_000;
/** Characters that are read in all: a hostile reply of brackets would be read again from each of them. */
const MOST_WORK = 2 * LONGEST;
/** Deepest nesting. */
const DEEPEST = 64;

/**
 * Every list or object that a model's reply contains, read leniently: inside prose or fences, cut off, with trailing or missing
 * commas, single or typographic quotes, unquoted or repeated keys (the last counts), comments, raw newlines in texts, Python's
 * True and None. A text that is cut off is left out with its object's later keys; whatever was complete stays.
 */
export function jsonValues(reply: string): unknown[] {
  const text = reply.slice(0, LONGEST).replace(/<think>[\s\S]*?<\/think>/g, "");
  const found: unknown[] = [];
  const open = /[[{]/g;
  let spent = 0;
  while (spent < MOST_WORK) {
    const at = open.exec(text)?.index;
    if (at === undefined) break;
    const reader = new Reader(text, at);
    const value = reader.value(0);
    spent += reader.at - at;
    // `[1]` in prose is no reply, and neither is `{name}`
    if (
      value !== undefined &&
      (Array.isArray(value) ? value.some(isObject) : Object.keys(value as object).length > 0)
    ) {
      found.push(value);
      open.lastIndex = Math.max(reader.at, at + 1);
    }
  }
  return found;
}

/** Reads one value from a position. */
class Reader {
  readonly #text: string;
  at: number;

  constructor(text: string, at: number) {
    this.#text = text;
    this.at = at;
  }

  /** The value here, or undefined: cut off or not JSON. */
  value(depth: number): unknown {
    this.#skip();
    const c = this.#text[this.at];
    if (c === undefined || depth > DEEPEST) return undefined;
    if (c === "[") return this.#list(depth);
    if (c === "{") return this.#object(depth);
    if (QUOTES.has(c)) return this.#string(c)?.text;
    return this.#word();
  }

  #skip(): void {
    const space = /(?:\s+|\/\/[^\n]*|\/\*[\s\S]*?\*\/)*/y;
    space.lastIndex = this.at;
    this.at += space.exec(this.#text)?.[0].length ?? 0;
  }

  #list(depth: number): unknown[] {
    const items: unknown[] = [];
    this.at++;
    for (;;) {
      this.#skip();
      const c = this.#text[this.at];
      if (c === undefined) return items;
      if (c === "]") {
        this.at++;
        return items;
      }
      if (c === "," || c === "}" || c === ";") {
        this.at++;
        continue;
      }
      const before = this.at;
      const item = this.value(depth + 1);
      if (item !== undefined) items.push(item);
      if (this.at === before) this.at++;
    }
  }

  #object(depth: number): Record<string, unknown> {
    const entries: [string, unknown][] = [];
    this.at++;
    for (;;) {
      this.#skip();
      const c = this.#text[this.at];
      if (c === undefined || c === "]") break; // cut off, or its brace is missing
      if (c === "}") {
        this.at++;
        break;
      }
      if (c === "," || c === ";") {
        this.at++;
        continue;
      }
      const key = QUOTES.has(c) ? this.#string(c)?.text : this.#name();
      this.#skip();
      if (key === undefined || !/[:=]/.test(this.#text[this.at] ?? "")) {
        if (key === undefined) this.at++;
        continue;
      }
      this.at++;
      const value = this.value(depth + 1);
      if (value !== undefined) entries.push([key, value]);
    }
    return Object.fromEntries(entries);
  }

  /** A key without quotes. */
  #name(): string | undefined {
    const name = /[\p{L}_$][\p{L}\p{N}_$ -]{0,60}/uy;
    name.lastIndex = this.at;
    const found = name.exec(this.#text)?.[0];
    if (found === undefined) return undefined;
    this.at += found.length;
    return found.trim();
  }

  #word(): unknown {
    const word = /[^\s,\]}:;]+/y;
    word.lastIndex = this.at;
    const found = word.exec(this.#text)?.[0];
    if (found === undefined) return undefined;
    this.at += found.length;
    if (/^(true|yes)$/i.test(found)) return true;
    if (/^(false|no)$/i.test(found)) return false;
    if (/^(null|none|undefined)$/i.test(found)) return null;
    const number = Number(found.replace(/\/10$/, ""));
    return Number.isFinite(number) ? number : found;
  }

  /**
   * A text in quotes. A quote inside a text that was not escaped does not end it: a text ends at a quote before `,`, `}`, `]`,
   * `:` or the end.
   *
   * @returns undefined if it is cut off
   */
  #string(open: string): { text: string } | undefined {
    const close = QUOTES.get(open)!;
    const source = this.#text;
    let text = "";
    for (let at = this.at + 1; at < source.length; at++) {
      const c = source[at];
      if (c === "\\") {
        const next = source[++at];
        if (next === undefined) break;
        const hex = /^[0-9a-f]{4}$/i.exec(source.slice(at + 1, at + 5));
        if (next === "u" && hex) {
          text += String.fromCharCode(Number.parseInt(hex[0], 16));
          at += 4;
        } else text += ESCAPES[next] ?? next;
      } else if (c === close && ENDS.test(source.slice(at + 1, at + 60))) {
        this.at = at + 1;
        return { text };
      } else text += c;
    }
    this.at = source.length;
    return undefined;
  }
}

/** What follows the quote that ends a text: punctuation, a comment, the end, or the next key after a missing comma. */
const ENDS = /^\s*([,}\]:;]|$|\/[/*]|["'“][\w ]{1,30}["'”]\s*:)/;
const QUOTES = new Map([
  ['"', '"'],
  ["'", "'"],
  ["“", "”"],
  ["„", "“"],
  ["«", "»"],
]);
const ESCAPES: Record<string, string> = { n: "\n", t: "\t", r: "\r", b: "\b", f: "\f" };

/** Other names that models give to the fields. */
const FIELD_NAMES: Record<keyof Pair, RegExp> = {
  question: /^(question|q|query|prompt|instruction)$/i,
  answer: /^(answer|a|response|output|completion|final_answer)$/i,
  reasoning: /^(reasoning|steps|explanation|rationale|thought|chain_of_thought|cot)$/i,
};

/** Objects in the values, at any depth. */
function* objectsOf(value: unknown, depth = 0): Generator<Record<string, unknown>> {
  if (depth > DEEPEST) return;
  if (Array.isArray(value)) for (const item of value) yield* objectsOf(item, depth + 1);
  else if (isObject(value)) {
    yield value;
    for (const item of Object.values(value)) if (typeof item === "object") yield* objectsOf(item, depth + 1);
  }
}

/** The pairs of a reply, in order and without exact repetitions; empty if it has none. */
export function readPairs(reply: string, fields: readonly (keyof Pair)[]): Pair[] {
  const pairs = new Map<string, Pair>();
  for (const value of jsonValues(reply)) {
    for (const object of objectsOf(value)) {
      const pair: Partial<Pair> = {};
      for (const field of fields) {
        const name = Object.keys(object).find((key) => FIELD_NAMES[field].test(key.trim()));
        const content = name === undefined ? undefined : object[name];
        const text = Array.isArray(content) ? content.filter((part) => typeof part === "string").join("\n") : content;
        if (typeof text === "string" || typeof text === "number") pair[field] = String(text).trim();
      }
      if (fields.every((field) => pair[field])) pairs.set(JSON.stringify([pair.question, pair.answer]), pair as Pair);
    }
  }
  return [...pairs.values()];
}

/** Marks of `count` pairs by index: a rating from 1 to 10, or whether the answer is supported; null where the reply has none. */
export function readMarks(reply: string, field: "rating" | "supported", count: number): (number | boolean | null)[] {
  const marks = new Array<number | boolean | null>(count).fill(null);
  let next = 0;
  const put = (index: number, value: unknown) => {
    const mark = field === "rating" ? ratingOf(value) : supportOf(value);
    if (mark !== null && index >= 0 && index < count && marks[index] === null) marks[index] = mark;
  };
  for (const value of jsonValues(reply)) {
    for (const object of objectsOf(value)) {
      const key = Object.keys(object).find((name) =>
        (field === "rating" ? /^(rating|score)$/i : /^supported$/i).test(name.trim()),
      );
      if (key === undefined) continue;
      const id = Number(object.id ?? object.ID ?? Number.NaN);
      put(Number.isInteger(id) ? id - 1 : next, object[key]);
      next++;
    }
  }
  if (next === 0)
    for (const [, mark] of (/\[([\d.,\s]+)\]/.exec(reply)?.[1] ?? "").matchAll(/(\d+(?:\.\d+)?)/g)) put(next++, mark);
  return marks;
}

function ratingOf(value: unknown): number | null {
  const rating =
    typeof value === "string" ? Number(/^\s*(\d+(?:\.\d+)?)(\s*\/\s*10)?\s*$/.exec(value)?.[1] ?? Number.NaN) : value;
  return typeof rating === "number" && rating >= 1 && rating <= 10 ? rating : null;
}

function supportOf(value: unknown): boolean | null {
  if (typeof value === "boolean") return value;
  if (typeof value !== "string") return null;
  return /^(true|yes|supported)$/i.test(value.trim())
    ? true
    : /^(false|no|not supported|unsupported)$/i.test(value.trim())
      ? false
      : null;
}

/** A reply as plain text: without thinking, fences and a label in front; null if nothing is left. */
export function readText(reply: string): string | null {
  const text = reply
    .replace(/<think>[\s\S]*?(<\/think>|$)/g, "")
    .replace(/^\s*```\w*\n([\s\S]*?)\n?```\s*$/, "$1")
    .replace(/^\s*(here is|here's)[^\n:]{0,80}:\s*/i, "")
    .trim();
  return text === "" ? null : text;
}
