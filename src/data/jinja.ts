import { Environment, Interpreter, Template } from "@huggingface/jinja";

/**
 * What a template may use. A chat template comes with a downloaded model, so it is untrusted: Jinja has no `while`,
 * but nested loops and recursive macros can run for years and doubling strings can fill the memory.
 */
export const templateLimits = {
  /** characters of template source; Qwen's have 3 000 to 10 000 */
  source: 256 * 1024,
  /** consecutive white-space characters in the source: the library's lexer is quadratic in them */
  whitespace: 4096,
  /** evaluated nodes of the syntax tree in one rendering */
  steps: 20_000_000,
  /** wall-clock time of one rendering, ms */
  time: 10_000,
  /** characters of any string that a template makes */
  characters: 32 * 1024 * 1024,
  /** elements of any list that a template makes */
  elements: 100_000,
};

type Node = NonNullable<Parameters<Interpreter["evaluate"]>[0]>;
type Value = ReturnType<Interpreter["evaluate"]>;

/** The parts of a method call's syntax tree, `object.method(args)`, that `BoundedInterpreter` looks at. */
interface MethodCall {
  callee: { type: string; computed?: boolean; object?: Node; property?: { type: string; value?: unknown } };
  args: Node[];
}

/** Jinja's interpreter with an end to its patience, and with Python's `strip(chars)`. */
class BoundedInterpreter extends Interpreter {
  private steps = 0;
  private readonly deadline = Date.now() + templateLimits.time;

  override evaluate(node: Node | undefined, environment: Environment): Value {
    if (++this.steps > templateLimits.steps) throw new Error(`it takes more than ${templateLimits.steps} steps`);
    // One step may be a loop's set-up, of milliseconds.
    if ((this.steps & 15) === 0 && Date.now() > this.deadline) {
      throw new Error(`it takes more than ${templateLimits.time / 1000} s`);
    }
    const value =
      (node?.type === "CallExpression" && this.strip(node, environment)) || super.evaluate(node, environment);
    if (typeof value.value === "string" && value.value.length > templateLimits.characters) {
      throw new Error(`it makes a string of more than ${templateLimits.characters} characters`);
    }
    if (Array.isArray(value.value) && value.value.length > templateLimits.elements) {
      throw new Error(`it makes a list of more than ${templateLimits.elements} elements`);
    }
    return value;
  }

  /**
   * `text.strip(chars)`, `lstrip`, `rstrip`: @huggingface/jinja 0.5.11 ignores `chars` and trims all white space, which
   * would eat the indentation of a completion in Qwen3's template (`content.lstrip('\n')`).
   */
  private strip(node: Node, environment: Environment): Value | null {
    const { callee, args } = node as unknown as MethodCall;
    if (callee.type !== "MemberExpression" || callee.computed || callee.property?.type !== "Identifier") return null;
    const method = callee.property.value;
    if (method !== "strip" && method !== "lstrip" && method !== "rstrip") return null;
    const object = this.evaluate(callee.object, environment);
    if (object.type !== "StringValue") return null;
    const chars = args.length > 0 ? this.evaluate(args[0], environment) : null;
    const set = chars?.type === "StringValue" ? (chars.value as string) : null;
    const text = stripCharacters(object.value as string, set, method !== "rstrip", method !== "lstrip");
    return new (object.constructor as new (text: string) => Value)(text);
  }
}

/** Python's `str.isspace()` for one character, which is what `strip()` without characters removes. */
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

const parsed = new Map<string, Template["parsed"]>();

/** Parses `source`, remembering the last few. @throws {Error} with the reason alone */
function parse(source: string): Template["parsed"] {
  const known = parsed.get(source);
  if (known) return known;
  if (source.length > templateLimits.source) {
    throw new Error(`it has ${source.length} characters, and ${templateLimits.source} are allowed`);
  }
  if (new RegExp(`\\s{${templateLimits.whitespace}}`).test(source)) {
    throw new Error(`it has ${templateLimits.whitespace} white-space characters in a row`);
  }
  const program = new Template(source).parsed;
  if (parsed.size >= 8) parsed.delete(parsed.keys().next().value as string);
  parsed.set(source, program);
  return program;
}

/**
 * Renders a Jinja template with the globals that transformers gives to chat templates, within `templateLimits`.
 *
 * @throws {Error} a syntax error, `raise_exception`, an unknown operation or a limit; the message is the reason alone
 */
export function renderJinja(source: string, variables: Record<string, unknown>): string {
  const program = parse(source);
  const environment = new Environment();
  const globals: Record<string, unknown> = {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    range: boundedRange,
    strftime_now: strftimeNow,
    raise_exception: (message: unknown) => {
      throw new Error(String(message));
    },
    ...variables,
  };
  for (const [name, value] of Object.entries(globals)) environment.set(name, value);
  return String(new BoundedInterpreter(environment).run(program).value);
}

function boundedRange(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  const count = Math.max(0, Math.ceil((stop - start) / step));
  if (!(count <= templateLimits.elements)) throw new Error(`range() of ${count} elements`);
  return Array.from({ length: count }, (_, i) => start + i * step);
}

/** `strftime_now(format)` of transformers, in English and local time, for the codes that templates use. */
function strftimeNow(format: string): string {
  const now = new Date();
  const two = (n: number): string => String(n).padStart(2, "0");
  const name = (options: Intl.DateTimeFormatOptions): string => now.toLocaleDateString("en-US", options);
  const codes: Record<string, string> = {
    Y: String(now.getFullYear()),
    y: two(now.getFullYear() % 100),
    m: two(now.getMonth() + 1),
    d: two(now.getDate()),
    H: two(now.getHours()),
    I: two(now.getHours() % 12 || 12),
    M: two(now.getMinutes()),
    S: two(now.getSeconds()),
    p: now.getHours() < 12 ? "AM" : "PM",
    B: name({ month: "long" }),
    b: name({ month: "short" }),
    A: name({ weekday: "long" }),
    a: name({ weekday: "short" }),
    "%": "%",
  };
  return String(format).replace(/%(.)/g, (all, code: string) => codes[code] ?? all);
}
