import { pythonFloat } from "./json.ts";
import { JsonScanner } from "./json-scanner.ts";

/** Facts about the original JSON that plain JavaScript values lose. */
interface Spelling {
  /** names or indices of whole numbers that were written as floats: 20.0, 1e3 */
  floats?: Set<string | number>;
  /** the order of the keys, if a JavaScript object would change it: it puts "10" before "b" */
  keys?: string[];
}

const spellings = new WeakMap<object, Spelling>();

function spellingOf(holder: object): Spelling {
  const known = spellings.get(holder);
  if (known) return known;
  const made: Spelling = {};
  spellings.set(holder, made);
  return made;
}

/** Marks the number at `key` of `holder` as a float, because 20 and 20.0 are the same JavaScript number. */
export function markFloat(holder: object, key: string | number): void {
  const spelling = spellingOf(holder);
  spelling.floats ??= new Set();
  spelling.floats.add(key);
}

/** Whether the number at `key` of `holder` is a float in Python. */
export function isFloat(holder: object, key: string | number): boolean {
  const value = (holder as Record<string | number, unknown>)[key];
  if (typeof value !== "number") return false;
  return !Number.isInteger(value) || Boolean(spellings.get(holder)?.floats?.has(key));
}

/** Copies these facts from `from` to its copy `to`. */
export function copySpelling<T extends object>(from: object, to: T): T {
  const known = spellings.get(from);
  if (known) spellings.set(to, known);
  return to;
}

/** Names and values of an object in their original order. */
export function entriesInOrder(value: object): [string, unknown][] {
  const keys = spellings.get(value)?.keys;
  const entries = Object.entries(value);
  if (!keys) return entries;
  const place = new Map(keys.map((key, i) => [key, i]));
  const last = keys.length;
  return entries.sort(([a], [b]) => (place.get(a) ?? last) - (place.get(b) ?? last));
}

/** Most levels of lists and objects in a text. */
const MOST_LEVELS = 200;
/** Most values in one text. A row of training data has a few thousand. */
const MOST_VALUES = 2_000_000;
/** Most digits of an integer, as in Python's `sys.get_int_max_str_digits`. */
const MOST_DIGITS = 4300;

// Texts that JSON.parse would change: whole floats, long integers, NaN and Infinity. Digits inside strings match too.
const CARE = /\d\.0|\d[eE]|\d{16}|NaN|Infinity|"\d{1,10}"\s*:/;

/**
 * Reads JSON as Python's `json.loads` does, into plain values: integers beyond 2^53 become bigints; whole floats become
 * numbers and stay floats for {@link pythonJson} and {@link isFloat}; NaN and Infinity are read; keys keep their order.
 *
 * @throws {SyntaxError} with the position: the text is not JSON, nests deeper than 200, has an integer of more than 4300 digits
 *   or more than two million values
 */
export function parsePythonJson(text: string): unknown {
  // a value takes at least two characters
  if (text.length > 2 * MOST_VALUES) checkValues(text);
  if (!CARE.test(text) && isShallow(text)) return JSON.parse(text);
  return new Reader(text).read();
}

/** Whether a text has too few brackets for deep nesting. */
function isShallow(text: string): boolean {
  let opened = 0;
  for (const mark of ["[", "{"]) {
    for (let at = text.indexOf(mark); at >= 0; at = text.indexOf(mark, at + 1)) {
      if (++opened > MOST_LEVELS) return false;
    }
  }
  return true;
}

function checkValues(text: string): void {
  let values = 1;
  // commas in strings count too, because a text with two million commas is not a row either
  for (let at = text.indexOf(","); at >= 0; at = text.indexOf(",", at + 1)) {
    if (++values > MOST_VALUES) throw new SyntaxError(`more than ${MOST_VALUES} values, at position ${at}`);
  }
}

const NUMBER = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?/y;
const WORDS: readonly (readonly [string, unknown])[] = [
  ["null", null],
  ["true", true],
  ["false", false],
  ["NaN", Number.NaN],
  ["Infinity", Number.POSITIVE_INFINITY],
  ["-Infinity", Number.NEGATIVE_INFINITY],
];

class Reader extends JsonScanner {
  /** whether the last number was written as a float */
  private float = false;

  read(): unknown {
    const value = this.value(0);
    this.space();
    if (this.at < this.text.length) this.fail();
    return value;
  }

  private value(depth: number): unknown {
    if (depth > MOST_LEVELS) throw new SyntaxError(`nesting is deeper than ${MOST_LEVELS} at position ${this.at}`);
    this.space();
    this.float = false;
    const first = this.text[this.at];
    if (first === "{") return this.object(depth);
    if (first === "[") return this.list(depth);
    if (first === '"') return this.string();
    for (const [word, value] of WORDS) {
      if (!this.text.startsWith(word, this.at)) continue;
      this.at += word.length;
      return value;
    }
    return this.number();
  }

  private number(): number | bigint {
    NUMBER.lastIndex = this.at;
    const found = NUMBER.exec(this.text);
    if (!found) return this.fail();
    const [spelled, fraction, exponent] = found;
    this.at = NUMBER.lastIndex;
    this.float = fraction !== undefined || exponent !== undefined;
    const value = Number(spelled);
    if (this.float || Number.isSafeInteger(value)) return value;
    if (spelled.length > MOST_DIGITS) {
      throw new SyntaxError(
        `an integer of ${spelled.length} digits at position ${this.at}, but at most ${MOST_DIGITS} are allowed`,
      );
    }
    return BigInt(spelled);
  }

  private object(depth: number): object {
    const entries: [string, unknown][] = [];
    const floats = new Set<string>();
    this.at++;
    if (!this.next("}")) {
      do {
        this.space();
        const key = this.string();
        if (!this.next(":")) this.fail();
        entries.push([key, this.value(depth + 1)]);
        if (this.float) floats.add(key);
        else floats.delete(key);
        this.float = false;
      } while (this.next(","));
      if (!this.next("}")) this.fail();
    }
    this.float = false;
    const made = Object.fromEntries(entries);
    for (const key of floats) if (Number.isInteger(made[key])) markFloat(made, key);
    if (entries.length > 1 && entries.some(([key]) => /^\d/.test(key))) {
      spellingOf(made).keys = [...new Set(entries.map(([key]) => key))];
    }
    return made;
  }

  private list(depth: number): unknown[] {
    const items: unknown[] = [];
    this.at++;
    if (!this.next("]")) {
      do {
        const item = this.value(depth + 1);
        if (this.float && Number.isInteger(item)) markFloat(items, items.length);
        items.push(item);
        this.float = false;
      } while (this.next(","));
      if (!this.next("]")) this.fail();
    }
    this.float = false;
    return items;
  }
}

/** A JSON number in Python's spelling: a float's `repr`, or an integer's digits. */
export function pythonNumber(value: number | bigint, float: boolean): string {
  if (typeof value === "bigint") return String(value);
  if (float || !Number.isInteger(value)) return pythonFloat(value);
  return Number.isSafeInteger(value) ? String(value === 0 ? 0 : value) : String(BigInt(value));
}

/**
 * JSON in one line, as Python's `json.dumps(value, ensure_ascii=False)` writes it: separators `", "` and `": "`, floats by
 * their `repr`, integers exactly. Values outside JSON (undefined, functions) become null, and are left out of objects.
 *
 * @throws {SyntaxError} nesting deeper than 400
 */
export function pythonJson(value: unknown): string {
  return write(value, false, 0, PYTHON);
}

/** `JSON.stringify` in one line, with numbers as in {@link pythonJson}. Numbers that are not finite become null. */
export function compactJson(value: unknown): string {
  return write(value, false, 0, COMPACT);
}

interface Style {
  comma: string;
  colon: string;
  finite: boolean;
}
const PYTHON: Style = { comma: ", ", colon: ": ", finite: false };
const COMPACT: Style = { comma: ",", colon: ":", finite: true };

function write(value: unknown, float: boolean, depth: number, style: Style): string {
  // a value that was read may have been wrapped in more levels
  if (depth > 2 * MOST_LEVELS) throw new SyntaxError(`nesting is deeper than ${2 * MOST_LEVELS}`);
  if (typeof value === "number" || typeof value === "bigint") {
    return style.finite && typeof value === "number" && !Number.isFinite(value) ? "null" : pythonNumber(value, float);
  }
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const inner = (key: string | number, item: unknown) => write(item, isFloat(value, key), depth + 1, style);
  if (Array.isArray(value)) return `[${value.map((item, i) => inner(i, item)).join(style.comma)}]`;
  const items = entriesInOrder(value).flatMap(([key, item]) =>
    item === undefined ? [] : [JSON.stringify(key) + style.colon + inner(key, item)],
  );
  return `{${items.join(style.comma)}}`;
}
