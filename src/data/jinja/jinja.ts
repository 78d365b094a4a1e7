import { Environment, Template } from "@huggingface/jinja";
import { isFloat } from "../../text/python-json.ts";
import { BoundedInterpreter, templateLimits } from "./interpreter.ts";
import { type Node, toValue } from "./values.ts";

const parsed = new Map<string, Node>();

/**
 * Parses `source`, with a cache of the last few. Lines may end with CR LF or CR: Jinja2 reads both as LF, so that a
 * template saved on Windows renders the text that its model was trained with.
 *
 * @throws {Error} with only the reason as the message
 */
function parse(source: string): Node {
  const known = parsed.get(source);
  if (known) return known;
  if (source.length > templateLimits.source) {
    throw new Error(`it has ${source.length} characters, and ${templateLimits.source} are allowed`);
  }
  const lines = source.replace(/\r\n?/g, "\n");
  if (longestBlank(lines) >= templateLimits.whitespace) {
    throw new Error(`it has ${templateLimits.whitespace} white-space characters in a row`);
  }
  if (deepestBracket(lines) > 200) throw new Error("it nests brackets more than 200 deep");
  const program = new Template(lines).parsed as unknown as Node;
  if (parsed.size >= 8) parsed.delete(parsed.keys().next().value as string);
  parsed.set(source, program);
  return program;
}

function longestBlank(text: string): number {
  let longest = 0;
  for (const [run] of text.matchAll(/\s+/g)) longest = Math.max(longest, run.length);
  return longest;
}

/** The deepest level of brackets, including brackets in text and strings, which few templates have. */
function deepestBracket(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (const [mark] of text.matchAll(/[([{}\])]/g)) {
    depth = Math.max(0, depth + ("([{".includes(mark) ? 1 : -1));
    deepest = Math.max(deepest, depth);
  }
  return deepest;
}

/**
 * Renders a Jinja template with the globals that transformers gives to chat templates, within `templateLimits`.
 * Numbers, text, JSON and equality are Python's.
 *
 * @throws {Error} a syntax error, `raise_exception`, an unknown operation or a limit; the message is only the reason
 */
export function renderJinja(source: string, variables: Record<string, unknown>): string {
  const program = parse(source);
  const environment = new Environment();
  const functions: Record<string, unknown> = {
    range: boundedRange,
    strftime_now: strftimeNow,
    raise_exception: (message: unknown) => {
      throw new Error(String(message));
    },
  };
  for (const [name, value] of Object.entries(functions)) environment.set(name, value);
  const constants = { true: true, false: false, none: null, True: true, False: false, None: null };
  for (const [name, value] of Object.entries(constants)) environment.setVariable(name, toValue(value));
  for (const [name, value] of Object.entries(variables)) {
    environment.setVariable(name, toValue(value, isFloat(variables, name)));
  }
  return String(new BoundedInterpreter(environment).run(program).value);
}

function boundedRange(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  const count = Math.max(0, Math.ceil((stop - start) / step));
  if (!(count <= templateLimits.elements)) throw new Error(`range() of ${count} elements`);
  return Array.from({ length: count }, (_, i) => start + i * step);
}
/** `strftime_now(format)` of transformers, in English and local time, for the format codes that templates use. */
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
