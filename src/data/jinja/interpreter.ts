import { type Environment, Interpreter } from "@huggingface/jinja";
import {
  arithmetic,
  BooleanValue,
  type DumpOptions,
  dumps,
  entriesOf,
  integerFilter,
  itemsOf,
  type Node,
  pythonEquals,
  pythonText,
  StringValue,
  toValue,
  type Value,
} from "./values.ts";

/**
 * A template's limits. A chat template comes with a downloaded model, so it is untrusted: Jinja has no `while`, but
 * nested loops and recursive macros can run for years, and repeatedly doubled strings and lists can fill the memory.
 */
export const templateLimits = {
  /** characters of template source; Qwen's have 3 000 to 10 000 */
  source: 256 * 1024,
  /** consecutive white-space characters in the source: the library's lexer is quadratic in them */
  whitespace: 4096,
  /** evaluated nodes of the syntax tree in one rendering; long work in one node counts as several */
  steps: 4_000_000,
  /** wall-clock time of one rendering, ms */
  time: 10_000,
  /** characters of any created string, and of any list if printed */
  characters: 8 * 1024 * 1024,
  /** characters of all created strings together */
  made: 256 * 1024 * 1024,
  /** elements of any created list */
  elements: 100_000,
};

/** Approximate characters that are copied or compared in the time of one evaluated node; and characters searched. */
const charactersAStep = 64;
const scannedAStep = 6;
/** Evaluated nodes in the time of one list element during a loop, sort, slice or search. */
const stepsAnElement = 8;

interface CallNode {
  type: string;
  callee: {
    type: string;
    value?: unknown;
    computed?: boolean;
    object?: Node;
    property?: { type: string; value?: unknown };
  };
  args: Node[];
}
interface BinaryNode {
  operator: { value: string };
  left: Node;
  right: Node;
}

/** The parts of @huggingface/jinja 0.5.11's interpreter that are replaced or used; its types do not export them. */
interface Parts {
  run(program: Node): Value;
  evaluate(node: Node | undefined, environment: Environment): Value;
  evaluateBlock(statements: Node[], environment: Environment): Value;
  applyFilter(operand: Value, filter: Node, environment: Environment): Value;
  evaluateArguments(args: Node[], environment: Environment): [Value[], Map<string, Value>];
}
const Base = Interpreter as unknown as new (environment: Environment) => Parts;

/** Nodes that print nothing themselves, or whose text exists already. */
const STATEMENTS = new Set([
  "Set",
  "Macro",
  "If",
  "For",
  "Comment",
  "CallStatement",
  "FilterStatement",
  "Break",
  "Continue",
]);

/** Jinja's interpreter with limits, and with Python's text, JSON, equality and string methods. */
export class BoundedInterpreter extends Base {
  private steps = 0;
  private made = 0;
  private depth = 0;
  private readonly deadline = Date.now() + templateLimits.time;
  /** printed characters of lists and dictionaries, which are immutable */
  private readonly sizes = new WeakMap<Value, number>();
  /** nodes whose value is traversed, not only referenced */
  private readonly scanned = new WeakSet<Node>();

  override evaluate(node: Node | undefined, environment: Environment): Value {
    this.count(1);
    // far below the engine's stack limit
    if (++this.depth > 1000) throw new Error("it nests more than 1000 calls and blocks");
    try {
      const value = node ? this.own(node, environment) : super.evaluate(node, environment);
      this.check(value, node?.type ?? "");
      if (node && this.scanned.has(node)) this.scan(value);
      return value;
    } finally {
      this.depth--;
    }
  }

  private count(steps: number): void {
    const before = this.steps;
    this.steps += steps;
    if (this.steps > templateLimits.steps) throw new Error(`it takes more than ${templateLimits.steps} steps`);
    // One step may be the set-up of a loop, which takes milliseconds.
    if (this.steps >> 4 !== before >> 4 && Date.now() > this.deadline) {
      throw new Error(`it takes more than ${templateLimits.time / 1000} s`);
    }
  }

  private check(value: Value, type: string): void {
    if (typeof value.value === "string") {
      const { length } = value.value;
      if (length > templateLimits.characters) {
        throw new Error(`it makes a string of more than ${templateLimits.characters} characters`);
      }
      // names and constants only reference text
      if (type !== "Identifier" && type !== "MemberExpression" && type !== "StringLiteral") this.charge(length);
      return;
    }
    const items = itemsOf(value);
    if (items && items.length > templateLimits.elements) {
      throw new Error(`it makes a list of more than ${templateLimits.elements} elements`);
    }
    if (items || entriesOf(value)) this.sizeOf(value, 0);
  }

  private scan(value: Value): void {
    if (typeof value.value === "string") this.count(Math.ceil(value.value.length / scannedAStep));
    else this.count(stepsAnElement * (itemsOf(value)?.length ?? entriesOf(value)?.size ?? 0));
  }

  /** Counts created text. */
  private charge(characters: number): void {
    this.made += characters;
    if (this.made > templateLimits.made) {
      throw new Error(`it makes more than ${templateLimits.made} characters of text in all`);
    }
    this.count(Math.ceil(characters / charactersAStep));
  }

  /**
   * Approximate characters of a value when printed. A list that contains itself twice doubles quickly, long before
   * printing.
   */
  private sizeOf(value: Value, depth: number): number {
    if (typeof value.value === "string") return value.value.length + 2;
    const items = itemsOf(value);
    const entries = items ? null : entriesOf(value);
    if (!items && !entries) return 8;
    const known = this.sizes.get(value);
    if (known !== undefined) return known;
    if (depth > 200) throw new Error("it nests lists more than 200 deep");
    this.count(1);
    let size = 2;
    for (const item of items ?? entries!.values()) size += 2 + this.sizeOf(item, depth + 1);
    for (const key of entries?.keys() ?? []) size += key.length + 2;
    if (size > templateLimits.characters) {
      throw new Error(`it makes a list of more than ${templateLimits.characters} characters`);
    }
    // A namespace is mutable, so neither it nor a value that contains it is cached.
    if (value.type !== "NamespaceValue" && !this.holdsNamespace(items ?? [...entries!.values()])) {
      this.sizes.set(value, size);
    }
    return size;
  }

  private holdsNamespace(values: readonly Value[]): boolean {
    return values.some(
      (value) => value.type === "NamespaceValue" || ((itemsOf(value) || entriesOf(value)) && !this.sizes.has(value)),
    );
  }

  /** Nodes that Python evaluates differently from the library; the library evaluates all others. */
  private own(node: Node, environment: Environment): Value {
    const { iterable, object, property, callee } = node as unknown as Record<string, Node & { object?: Node }>;
    if (node.type === "For") this.scanned.add((iterable as unknown as { lhs?: Node }).lhs ?? iterable);
    if (node.type === "MemberExpression" && property.type === "SliceExpression") this.scanned.add(object);
    if (node.type === "CallExpression" && callee.object) {
      this.scanned.add(callee.object);
      this.count(stepsAnElement);
    }
    if (node.type === CONSTANT) return (node as unknown as { value: Value }).value;
    if (node.type === "BinaryExpression") {
      const value = this.binary(node as unknown as BinaryNode, environment);
      if (value) return value;
    }
    if (node.type === "CallExpression") {
      const value = this.method(node as unknown as CallNode, environment);
      if (value) return value;
    }
    return super.evaluate(node, environment);
  }

  private text(value: Value): string {
    if (typeof value.value !== "string") this.charge(this.sizeOf(value, 0));
    return pythonText(value, templateLimits.characters);
  }

  override evaluateBlock(statements: Node[], environment: Environment): Value {
    let result = "";
    for (const statement of statements) {
      const value = this.evaluate(statement, environment);
      if (typeof value.value === "string") result += value.value;
      else if (!STATEMENTS.has(statement.type)) result += this.text(value);
      if (result.length > templateLimits.characters) {
        throw new Error(`it makes a string of more than ${templateLimits.characters} characters`);
      }
    }
    this.charge(result.length);
    return new StringValue(result);
  }

  private binary({ operator, left, right }: BinaryNode, environment: Environment): Value | null {
    const name = operator.value;
    if (name === "in" || name === "not in") this.scanned.add(right);
    if (!["==", "!=", "~", "+", "-", "*", "%", "//"].includes(name)) return null;
    const [a, b] = [this.evaluate(left, environment), this.evaluate(right, environment)];
    if (name === "~") return new StringValue(this.text(a) + this.text(b));
    if (name === "==" || name === "!=") {
      this.count(Math.ceil(Math.min(this.sizeOf(a, 0), this.sizeOf(b, 0)) / charactersAStep));
      return new BooleanValue(pythonEquals(a, b) === (name === "=="));
    }
    const number = arithmetic(name, a, b);
    if (number) return number;
    const texts = [a, b].filter((value) => value.type === "StringValue").length;
    if (name === "+" && texts === 2) return new StringValue((a.value as string) + (b.value as string));
    if (name === "+" && texts === 1) {
      throw new TypeError(`it adds text and a ${nameOf(a.type === "StringValue" ? b : a)}`);
    }
    // already evaluated: pass the values to the operator
    return super.evaluate(
      { type: "BinaryExpression", operator, left: constant(a), right: constant(b) } as unknown as Node,
      environment,
    );
  }

  /**
   * `strip`, `lstrip` and `rstrip` with characters: the library ignores the argument and would remove the indentation
   * of a completion in Qwen3's template (`content.lstrip('\n')`). `replace`: its result is measured before it is
   * created.
   */
  private method(node: CallNode, environment: Environment): Value | null {
    const { callee, args } = node;
    if (callee.type !== "MemberExpression" || callee.computed || callee.property?.type !== "Identifier") return null;
    const name = callee.property.value;
    if (name !== "strip" && name !== "lstrip" && name !== "rstrip" && name !== "replace") return null;
    const object = this.evaluate(callee.object, environment);
    if (object.type !== "StringValue") return null;
    const [given, named] = this.evaluateArguments(args, environment);
    if (name === "replace") return this.replace(object.value as string, given, named);
    const chars = given[0]?.type === "StringValue" ? (given[0].value as string) : null;
    return new StringValue(stripCharacters(object.value as string, chars, name !== "rstrip", name !== "lstrip"));
  }

  private replace(text: string, given: Value[], named: Map<string, Value>): Value {
    const [old, fresh] = [given[0] ?? named.get("old"), given[1] ?? named.get("new")];
    if (old?.type !== "StringValue" || fresh?.type !== "StringValue") throw new TypeError("replace() takes two texts");
    const count = given[2] ?? named.get("count");
    const most = typeof count?.value === "number" && count.value >= 0 ? count.value : Number.POSITIVE_INFINITY;
    this.charge(text.length);
    const pieces = old.value === "" ? ["", ...Array.from(text), ""] : text.split(old.value as string);
    const times = Math.min(most, pieces.length - 1);
    this.charge(times * (fresh.value as string).length);
    const head = pieces.slice(0, times + 1).join(fresh.value as string);
    return new StringValue([head, ...pieces.slice(times + 1)].join(old.value as string));
  }

  override applyFilter(operand: Value, filter: Node, environment: Environment): Value {
    const call = filter.type === "CallExpression" ? (filter as unknown as CallNode) : null;
    const name = String(call ? call.callee.value : (filter as unknown as { value: unknown }).value);
    const args = (): [Value[], Map<string, Value>] =>
      call ? this.evaluateArguments(call.args, environment) : [[], new Map()];
    const text = typeof operand.value === "string" ? operand.value : null;
    this.scan(operand);
    this.count(stepsAnElement);
    if (name === "tojson") {
      this.charge(this.sizeOf(operand, 0));
      return new StringValue(dumps(operand, dumpOptions(...args()), templateLimits.characters));
    }
    if (name === "string") return new StringValue(this.text(operand));
    // code points, as Python counts
    if (name === "length" && text !== null)
      return toValue(/[\ud800-\udfff]/.test(text) ? Array.from(text).length : text.length);
    const integer = integerFilter(name, operand);
    if (integer) return integer;
    if (name === "trim" && text !== null) {
      const [given, named] = args();
      const chars = given[0] ?? named.get("chars");
      return new StringValue(
        stripCharacters(text, chars?.type === "StringValue" ? (chars.value as string) : null, true, true),
      );
    }
    if (name === "replace" && text !== null) return this.replace(text, ...args());
    if (name === "indent" && text !== null) return this.indent(text, ...args());
    if (name === "join" && itemsOf(operand)) {
      const [given, named] = args();
      if (named.has("attribute")) throw new Error("join(attribute=…) is not supported: use map(attribute=…) before it");
      const mark = given[0] ?? named.get("d");
      const items = itemsOf(operand)!.map((item) => this.text(item));
      const between = mark ? this.text(mark) : "";
      this.charge(between.length * items.length + this.sizeOf(operand, 0));
      return new StringValue(items.join(between));
    }
    return super.applyFilter(operand, filter, environment);
  }

  private indent(text: string, given: Value[], named: Map<string, Value>): Value {
    const width = given[0] ?? named.get("width");
    const [first, blank] = [given[1] ?? named.get("first"), given[2] ?? named.get("blank")];
    if (width && width.type !== "IntegerValue" && width.type !== "StringValue")
      throw new TypeError("indent() takes a width");
    const lines = text.split("\n");
    const columns = typeof width?.value === "number" ? width.value : 4;
    this.charge(
      lines.length * (typeof width?.value === "string" ? width.value.length : Math.max(0, columns)) + text.length,
    );
    const margin = typeof width?.value === "string" ? width.value : " ".repeat(Math.max(0, columns));
    const indented = lines.map((line, i) =>
      (i === 0 && !first?.value) || (line === "" && !blank?.value) ? line : margin + line,
    );
    return new StringValue(indented.join("\n"));
  }
}

const CONSTANT = "ConstantValue";

/** A node that evaluates to a known value. */
function constant(value: Value): Node {
  return { type: CONSTANT, value } as unknown as Node;
}

function nameOf(value: Value): string {
  return value.type.replace(/Value$/, "").toLowerCase();
}

/** Arguments of transformers' `tojson`, in order. */
function dumpOptions(given: Value[], named: Map<string, Value>): DumpOptions {
  const [ascii, indent, separators, sorted] = ["ensure_ascii", "indent", "separators", "sort_keys"].map(
    (name, i) => given[i] ?? named.get(name),
  );
  const level =
    typeof indent?.value === "number"
      ? " ".repeat(Math.min(64, Math.max(0, indent.value)))
      : typeof indent?.value === "string"
        ? indent.value.slice(0, 64)
        : null;
  const pair = separators && itemsOf(separators);
  if (pair && (pair.length !== 2 || pair.some((item) => typeof item.value !== "string"))) {
    throw new TypeError("tojson's separators are two texts");
  }
  return {
    ensure_ascii: Boolean(ascii?.value),
    indent: level,
    separators: pair ? [pair[0].value as string, pair[1].value as string] : [level === null ? ", " : ",", ": "],
    sort_keys: Boolean(sorted?.value),
  };
}

/** Python's `str.isspace()` for one character: the characters that `strip()` removes by default. */
function isPythonSpace(c: string): boolean {
  return (/\s/.test(c) && c !== "\ufeff") || c === "\x85" || (c >= "\x1c" && c <= "\x1f");
}

function stripCharacters(text: string, set: string | null, left: boolean, right: boolean): string {
  const points = set === null ? null : new Set(set);
  const drop = (character: string): boolean => (points ? points.has(character) : isPythonSpace(character));
  const characters = points && /[\ud800-\udfff]/.test(set!) ? Array.from(text) : text;
  let start = 0;
  let end = characters.length;
  while (left && start < end && drop(characters[start]!)) start++;
  while (right && end > start && drop(characters[end - 1]!)) end--;
  const kept = characters.slice(start, end);
  return typeof kept === "string" ? kept : kept.join("");
}
