import { JsonScanner } from "./json-scanner.ts";

/** A number with its original spelling: 1000000.0 stays a float, and integers above 2^53 keep their digits. */
export class JsonNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  /** For `JSON.stringify`, which cannot keep the spelling. */
  toJSON(): number {
    return Number(this.text);
  }
}

/** A JSON value in which numbers keep their spelling and objects keep the order of their keys. */
type JsonValue = null | boolean | string | number | JsonNumber | readonly JsonValue[] | JsonObject;
export type JsonObject = { readonly [key: string]: JsonValue };

/** A number in Python's float spelling, so that other programs read a float: 6 is `6.0`, 1e-7 is `1e-07`. */
export function float(value: number): JsonNumber {
  return new JsonNumber(pythonFloat(value));
}

/** Python's `repr(float)`, with `Infinity` and `NaN` as in Python's json module. */
export function pythonFloat(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e16)) {
    const [digits, power] = value.toExponential().split("e");
    return `${digits}e${power[0]}${power.slice(1).padStart(2, "0")}`;
  }
  if (Object.is(value, -0)) return "-0.0";
  const text = String(value);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

/** Deepest nesting that is accepted. */
const MOST_DEPTH = 200;

/**
 * Reads JSON and keeps the spelling of its numbers. A repeated key takes its last value.
 *
 * @throws {SyntaxError} with the position, as in `JSON.parse`; also for nesting deeper than 200
 */
export function parseJson(text: string): JsonValue {
  return new Reader(text).read();
}

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?/y;

class Reader extends JsonScanner {
  read(): JsonValue {
    const value = this.value(0);
    this.space();
    if (this.at < this.text.length) this.fail();
    return value;
  }

  private value(depth: number): JsonValue {
    if (depth > MOST_DEPTH) throw new SyntaxError(`nesting is deeper than ${MOST_DEPTH} at position ${this.at}`);
    this.space();
    const first = this.text[this.at];
    if (first === "{") return this.object(depth);
    if (first === "[") return this.list(depth);
    if (first === '"') return this.string();
    for (const [word, value] of [
      ["null", null],
      ["true", true],
      ["false", false],
    ] as const) {
      if (!this.text.startsWith(word, this.at)) continue;
      this.at += word.length;
      return value;
    }
    return new JsonNumber(this.take(NUMBER));
  }

  private object(depth: number): JsonObject {
    const entries: [string, JsonValue][] = [];
    this.at++;
    if (this.next("}")) return {};
    do {
      this.space();
      const key = this.string();
      if (!this.next(":")) this.fail();
      entries.push([key, this.value(depth + 1)]);
    } while (this.next(","));
    if (!this.next("}")) this.fail();
    return Object.fromEntries(entries);
  }

  private list(depth: number): JsonValue[] {
    const items: JsonValue[] = [];
    this.at++;
    if (this.next("]")) return items;
    do items.push(this.value(depth + 1));
    while (this.next(","));
    if (!this.next("]")) this.fail();
    return items;
  }

  private take(pattern: RegExp): string {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (!found) return this.fail();
    this.at = pattern.lastIndex;
    return found[0];
  }
}

/**
 * Writes JSON with the original spelling of numbers.
 *
 * @param indent spaces per level, as in Python's `json.dumps(indent=…)`; 0: one line
 */
export function formatJson(value: JsonValue | unknown, indent = 0): string {
  return write(value as JsonValue, indent, "\n");
}

function write(value: JsonValue, indent: number, line: string): string {
  if (value instanceof JsonNumber) return value.text;
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  const inner = indent > 0 ? line + " ".repeat(indent) : "";
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const items = Array.isArray(value)
    ? value.map((item) => write(item, indent, inner))
    : Object.entries(value as JsonObject).flatMap(([key, item]) =>
        item === undefined ? [] : [`${JSON.stringify(key)}: ${write(item, indent, inner)}`],
      );
  if (items.length === 0) return open + close;
  if (indent === 0) return `${open}${items.join(", ")}${close}`;
  return `${open}${inner}${items.join(`,${inner}`)}${line}${close}`;
}

/** Whether a value is an object, and neither null nor a list. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
