import { Environment, type Interpreter } from "@huggingface/jinja";
import { entriesInOrder, isFloat, pythonNumber } from "../../text/python-json.ts";

/** A node of a template's syntax tree. */
export type Node = NonNullable<Parameters<Interpreter["evaluate"]>[0]>;
/** The interpreter's representation of a value. */
export type Value = ReturnType<Interpreter["evaluate"]>;

/** The classes of values, which @huggingface/jinja does not export. */
type Make<T> = new (value: T) => Value;
const made = new Environment();
const classOf = (value: unknown, name: string): unknown => made.set(name, value).constructor;
const IntegerValue = classOf(1, "integer") as Make<number>;
const FloatValue = classOf(0.5, "float") as Make<number>;
export const StringValue = classOf("", "string") as Make<string>;
export const BooleanValue = classOf(true, "boolean") as Make<boolean>;
const ArrayValue = classOf([], "array") as Make<Value[]>;
const ObjectValue = classOf({}, "object") as Make<Map<string, Value>>;
const NullValue = classOf(null, "null") as Make<null>;

/** Integers beyond the range of a double, by their value object. */
const exact = new WeakMap<Value, bigint>();

/**
 * Converts a value of a row or recipe for a template: 20.0 stays a float, integers keep all digits, keys keep their
 * order.
 */
export function toValue(input: unknown, float = false): Value {
  if (typeof input === "number") {
    return float || !Number.isInteger(input) ? new FloatValue(input) : new IntegerValue(input);
  }
  if (typeof input === "bigint") {
    const value = new IntegerValue(Number(input));
    if (!Number.isSafeInteger(Number(input))) exact.set(value, input);
    return value;
  }
  if (Array.isArray(input)) return new ArrayValue(input.map((item, i) => toValue(item, isFloat(input, i))));
  if (typeof input === "object" && input !== null) {
    return new ObjectValue(
      new Map(entriesInOrder(input).map(([key, item]) => [key, toValue(item, isFloat(input, key))])),
    );
  }
  if (input === null) return new NullValue(null);
  return new Environment().set("value", input);
}

/** The entries of a dictionary or a namespace, or null. */
export function entriesOf(value: Value): Map<string, Value> | null {
  return value.value instanceof Map ? (value.value as Map<string, Value>) : null;
}

/** The elements of a list or a tuple, or null. */
export function itemsOf(value: Value): Value[] | null {
  return Array.isArray(value.value) ? (value.value as Value[]) : null;
}

function isNumber(value: Value): boolean {
  return value.type === "IntegerValue" || value.type === "FloatValue";
}

function numberText(value: Value): string {
  return pythonNumber(exact.get(value) ?? (value.value as number), value.type === "FloatValue");
}

/**
 * `a op b` for two numbers if the library differs from Python: integers beyond 2^53, and `%` and `//`, whose results
 * have the sign of the divisor. Null for all other operations.
 */
export function arithmetic(op: string, a: Value, b: Value): Value | null {
  if (!isNumber(a) || !isNumber(b) || !["+", "-", "*", "%", "//"].includes(op)) return null;
  const [x, y] = [a.value as number, b.value as number];
  if (a.type === "IntegerValue" && b.type === "IntegerValue") {
    if ((op === "%" || op === "//") && y === 0) throw new RangeError("it divides by zero");
    const [m, n] = [exact.get(a) ?? BigInt(x), exact.get(b) ?? BigInt(y)];
    const rest = op === "%" || op === "//" ? ((m % n) + n) % n : 0n;
    const result = op === "+" ? m + n : op === "-" ? m - n : op === "*" ? m * n : op === "%" ? rest : (m - rest) / n;
    // 2^15000 has a little more than the 4300 digits that Python prints
    if (BigInt.asIntN(15_000, result) !== result) throw new RangeError("it makes an integer of more than 4300 digits");
    return toValue(result);
  }
  if (op !== "%" && op !== "//") return null;
  if (y === 0) throw new RangeError("it divides by zero");
  let rest = x % y;
  if (rest !== 0 && rest < 0 !== y < 0) rest += y;
  if (rest === 0) rest = y < 0 ? -0 : 0;
  if (op === "%") return toValue(rest, true);
  // as in CPython's float_divmod
  const quotient = (x - rest) / y;
  const floor = Math.floor(quotient);
  return toValue(quotient - floor > 0.5 ? floor + 1 : floor, true);
}

/** The result of `abs` and `int` for an integer of any length. */
export function integerFilter(name: string, value: Value): Value | null {
  const long = exact.get(value);
  if (long === undefined || (name !== "abs" && name !== "int")) return null;
  return toValue(name === "abs" && long < 0n ? -long : long);
}

/** Text that grows up to a limit. */
class Text {
  private readonly most: number;
  private pieces: string[] = [];
  private length = 0;

  constructor(most: number) {
    this.most = most;
  }

  add(piece: string): void {
    this.length += piece.length;
    if (this.length > this.most) throw new Error(`it makes a string of more than ${this.most} characters`);
    this.pieces.push(piece);
  }

  toString(): string {
    return this.pieces.join("");
  }
}

/** Most levels of lists and dictionaries that a template may print. */
const mostLevels = 200;

function checkDepth(depth: number): void {
  if (depth > mostLevels) throw new Error(`it nests lists more than ${mostLevels} deep`);
}

/** `str(value)` of Python, as `{{ value }}` prints it; empty for undefined values. */
export function pythonText(value: Value, most: number): string {
  if (value.type === "StringValue") return value.value as string;
  if (value.type === "UndefinedValue") return "";
  const text = new Text(most);
  represent(value, text, 0);
  return text.toString();
}

/** `repr` of a scalar; null for lists and dictionaries. */
function plainText(value: Value): string | null {
  if (isNumber(value)) {
    const written = numberText(value);
    return ({ NaN: "nan", Infinity: "inf", "-Infinity": "-inf" } as Record<string, string>)[written] ?? written;
  }
  if (value.type === "StringValue") return quoted(value.value as string);
  if (value.type === "BooleanValue") return value.value ? "True" : "False";
  if (value.type === "NullValue") return "None";
  return value.type === "UndefinedValue" ? "Undefined" : null;
}

/** `repr(value)` of Python. */
function represent(value: Value, text: Text, depth: number): void {
  checkDepth(depth);
  const plain = plainText(value);
  const items = itemsOf(value);
  const entries = entriesOf(value);
  if (plain !== null) text.add(plain);
  else if (items) {
    const [open, close] = value.type === "TupleValue" ? "()" : "[]";
    text.add(open);
    for (const [i, item] of items.entries()) {
      if (i > 0) text.add(", ");
      represent(item, text, depth + 1);
    }
    if (open === "(" && items.length === 1) text.add(",");
    text.add(close);
  } else if (entries && value.type !== "NamespaceValue") {
    text.add("{");
    let first = true;
    for (const [key, item] of entries) {
      text.add(`${first ? "" : ", "}${quoted(key)}: `);
      represent(item, text, depth + 1);
      first = false;
    }
    text.add("}");
  } else throw new Error(`it prints a ${value.type.replace("Value", "").toLowerCase()}, which has no text`);
}

/** `repr` of a string: single quotes unless the text contains them, escapes for unprintable characters. */
function quoted(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const named: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };
  const body = text.replace(/[\\'"\p{C}\p{Z}]/gu, (c) => {
    if (c === " " || c === '"') return c === mark ? `\\${c}` : c;
    if (c === "'") return c === mark ? "\\'" : c;
    if (named[c]) return named[c];
    const code = c.codePointAt(0)!;
    if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
    return code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
  });
  return mark + body + mark;
}

/** Options of `json.dumps`, as transformers' `tojson` passes them on. */
export interface DumpOptions {
  ensure_ascii: boolean;
  /** indentation of a level; null: everything on one line */
  indent: string | null;
  separators: readonly [string, string];
  sort_keys: boolean;
}

/** `json.dumps(value, …)` of Python. @throws {Error} a value that is not JSON, as in Python; nesting deeper than 200 */
export function dumps(value: Value, options: DumpOptions, most: number): string {
  const text = new Text(most);
  dump(value, options, text, 0);
  return text.toString();
}

function jsonText(text: string, options: DumpOptions): string {
  const json = JSON.stringify(text);
  if (!options.ensure_ascii) return json;
  return json.replace(/[\x7f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** JSON of a scalar; null for lists and dictionaries. */
function plainJson(value: Value, options: DumpOptions): string | null {
  if (value.type === "NullValue") return "null";
  if (value.type === "BooleanValue") return String(value.value);
  if (isNumber(value)) return numberText(value);
  return value.type === "StringValue" ? jsonText(value.value as string, options) : null;
}

function dump(value: Value, options: DumpOptions, text: Text, depth: number): void {
  checkDepth(depth);
  const plain = plainJson(value, options);
  const items = itemsOf(value);
  let entries = value.type === "NamespaceValue" ? null : entriesOf(value);
  if (plain === null && !items && !entries) {
    throw new TypeError(`Object of type ${value.type.replace("Value", "")} is not JSON serializable`);
  }
  const [open, close] = items ? "[]" : "{}";
  if (plain !== null || (items?.length ?? entries!.size) === 0) {
    text.add(plain ?? open + close);
    return;
  }
  const [between, colon] = options.separators;
  const line = (level: number): string => (options.indent === null ? "" : `\n${options.indent.repeat(level)}`);
  text.add(open + line(depth + 1));
  if (items) {
    for (const [i, item] of items.entries()) {
      if (i > 0) text.add(between + line(depth + 1));
      dump(item, options, text, depth + 1);
    }
  } else {
    if (options.sort_keys) entries = new Map([...entries!].sort(([a], [b]) => byCodePoint(a, b)));
    let first = true;
    for (const [key, item] of entries!) {
      text.add((first ? "" : between + line(depth + 1)) + jsonText(key, options) + colon);
      dump(item, options, text, depth + 1);
      first = false;
    }
  }
  text.add(line(depth) + close);
}

function byCodePoint(a: string, b: string): number {
  const [left, right] = [Array.from(a), Array.from(b)];
  for (const [i, c] of left.entries()) {
    if (right[i] === undefined) return 1;
    if (c !== right[i]) return c.codePointAt(0)! - right[i].codePointAt(0)!;
  }
  return left.length - right.length;
}

/** Python's equality: by value, not identity; 1 == 1.0 == True; text never equals a number. */
export function pythonEquals(a: Value, b: Value, depth = 0): boolean {
  checkDepth(depth);
  if (a === b) return true;
  const numeric = (value: Value): boolean => isNumber(value) || value.type === "BooleanValue";
  if (numeric(a) && numeric(b)) {
    const [left, right] = [exact.get(a), exact.get(b)];
    if (left !== undefined || right !== undefined) return (left ?? a.value) === (right ?? b.value);
    return Number(a.value) === Number(b.value);
  }
  const [leftItems, rightItems] = [itemsOf(a), itemsOf(b)];
  if (leftItems && rightItems) {
    return (
      (a.type === "TupleValue") === (b.type === "TupleValue") &&
      leftItems.length === rightItems.length &&
      leftItems.every((item, i) => pythonEquals(item, rightItems[i], depth + 1))
    );
  }
  const [left, right] = [entriesOf(a), entriesOf(b)];
  if (left && right) {
    if (a.type === "NamespaceValue" || b.type === "NamespaceValue") return a === b;
    return (
      left.size === right.size &&
      [...left].every(([key, item]) => right.has(key) && pythonEquals(item, right.get(key)!, depth + 1))
    );
  }
  return a.type === b.type && a.value === b.value;
}
