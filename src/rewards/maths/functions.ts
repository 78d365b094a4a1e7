import type { Cursor } from "./cursor.ts";
import type { Expression } from "./expression.ts";
import { SyntaxFault } from "./lexer.ts";

/** Function names in answers, mapped to the name for evaluation. */
const NAMES: Readonly<Record<string, string>> = {
  sin: "sin",
  cos: "cos",
  tan: "tan",
  tg: "tan",
  cot: "cot",
  ctg: "cot",
  sec: "sec",
  csc: "csc",
  cosec: "csc",
  arcsin: "asin",
  asin: "asin",
  arccos: "acos",
  acos: "acos",
  arctan: "atan",
  atan: "atan",
  arctg: "atan",
  sinh: "sinh",
  cosh: "cosh",
  tanh: "tanh",
  ln: "ln",
  log: "log",
  lg: "lg",
  exp: "exp",
  sqrt: "sqrt",
  cbrt: "cbrt",
  abs: "abs",
  floor: "floor",
  ceil: "ceil",
  gcd: "gcd",
  lcm: "lcm",
  min: "min",
  max: "max",
  sum: "sum",
  prod: "prod",
  Re: "re",
  Im: "im",
};

const INVERSES: Readonly<Record<string, string>> = { sin: "asin", cos: "acos", tan: "atan" };

export function isFunction(name: string): boolean {
  return Object.hasOwn(NAMES, name);
}

/** The longest function name at the start of a word: sin in sinx; null if there is none. */
export function functionNamed(word: string): string | null {
  for (let length = Math.min(6, word.length - 1); length > 1; length--) {
    const head = word.slice(0, length);
    if (isFunction(head)) return head;
  }
  return null;
}

/** A function call after its name: subscript, exponent and argument follow in many forms. */
export function call(cursor: Cursor, spelled: string): Expression {
  const name = NAMES[spelled];
  if (name === "sum" || name === "prod") return series(cursor, name);
  if (name === "sqrt") return root(cursor);
  const base = cursor.took("_") ? cursor.grammar.argument(cursor) : null;
  let exponent: Expression | null = null;
  let minus = false;
  if (cursor.took("^")) {
    minus = cursor.took("-");
    exponent = cursor.grammar.argument(cursor);
  }
  // m_{\max}: a name, not a call
  const ends = cursor.isMark("}") || cursor.isMark(")") || cursor.ended;
  if (ends && base === null && exponent === null) return { kind: "symbol", name, index: null };
  const args = operands(cursor);
  const inverse = exponent?.kind === "negative" && exponent.arg.kind === "number" && exponent.arg.value.num === 1n;
  if ((inverse || (minus && exponent?.kind === "number")) && Object.hasOwn(INVERSES, name)) {
    return { kind: "call", name: INVERSES[name], args };
  }
  let value: Expression;
  if (name === "log" && base) value = { kind: "call", name: "logb", args: [base, ...args] };
  else if (name === "log" && args.length === 2) value = { kind: "call", name: "logb", args: [args[1], args[0]] };
  else value = { kind: "call", name, args: base ? [...args, base] : args };
  if (!exponent) return value;
  return { kind: "power", base: value, exponent: minus ? { kind: "negative", arg: exponent } : exponent };
}

/** \sqrt[3]{x}, \sqrt2, sqrt(x) */
function root(cursor: Cursor): Expression {
  let degree: Expression | null = null;
  if (cursor.took("[")) {
    degree = cursor.grammar.sum(cursor);
    cursor.expect("]");
  }
  const arg = cursor.grammar.argument(cursor);
  if (arg.kind === "tuple" || arg.kind === "list") throw new SyntaxFault("a root of a list");
  return degree ? { kind: "call", name: "root", args: [degree, arg] } : { kind: "call", name: "sqrt", args: [arg] };
}

/** The arguments: in brackets, or the product that follows, up to the next function. */
function operands(cursor: Cursor): Expression[] {
  if (cursor.isMark("(") || cursor.isMark("[")) {
    const close = cursor.next().text === "(" ? ")" : "]";
    const { items } = cursor.grammar.items(cursor);
    cursor.expect(close);
    if (items.length === 0) throw new SyntaxFault("a function of nothing");
    return items;
  }
  if (cursor.isMark("{")) {
    const arg = cursor.grammar.argument(cursor);
    return arg.kind === "list" ? [...arg.items] : [arg];
  }
  return [cursor.inside(() => looseArgument(cursor))];
}

/** The argument of \sin 2x or \ln 3: factors side by side, up to the next function, bracket or unit. */
function looseArgument(cursor: Cursor): Expression {
  if (cursor.took("-")) return { kind: "negative", arg: cursor.inside(() => looseArgument(cursor)) };
  const factors = [cursor.grammar.power(cursor)];
  for (;;) {
    const token = cursor.peek();
    const stops =
      !token ||
      !cursor.grammar.startsFactor(cursor) ||
      token.type === "text" ||
      token.type === "mark" ||
      (token.type !== "number" && isFunction(token.text)) ||
      (token.type === "number" && factors.at(-1)!.kind === "number");
    if (stops) return factors.length === 1 ? factors[0] : { kind: "product", factors };
    factors.push(cursor.grammar.power(cursor));
  }
}

/** \sum_{k=1}^{n} body: the body is a product. */
function series(cursor: Cursor, name: "sum" | "prod"): Expression {
  cursor.expect("_");
  cursor.expect("{");
  const start = cursor.grammar.item(cursor);
  cursor.expect("}");
  if (start.kind !== "relation" || start.ops.join() !== "=" || !cursor.took("^")) {
    throw new SyntaxFault("a sum without its limits");
  }
  const [variable, from] = start.sides;
  const bound = variable.kind === "symbol" || variable.kind === "constant" ? variable.name : null;
  if (bound === null) throw new SyntaxFault("a sum over no variable");
  const to = cursor.grammar.argument(cursor);
  return { kind: "series", name, variable: bound, from, to, body: cursor.grammar.product(cursor) };
}
