import type { Cursor } from "./cursor.ts";
import type { Expression } from "./expression.ts";
import { call, functionNamed, isFunction } from "./functions.ts";
import { SyntaxFault, type Token } from "./lexer.ts";
import { compare, isInteger, type Rational, ZERO } from "./rational.ts";

type NumberToken = Extract<Token, { type: "number" }>;

const GREEK =
  /^(?:alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|vartheta|iota|kappa|lambda|mu|nu|xi|rho|varrho|sigma|tau|upsilon|phi|varphi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Sigma|Phi|Psi|Omega)$/;
const ACCENT =
  /^(?:overline|bar|hat|widehat|vec|dot|ddot|dddot|tilde|widetilde|overrightarrow|overleftarrow|overset|underset)$/;
/** Commands that begin an operator or a bracket; a factor never begins with them. */
const NO_FACTOR = /^(?:end\{.*|rfloor|rceil|rangle|setminus|backslash|choose|over|pmod|not|equiv)$/;
const OPENING = new Set(["(", "[", "{", "\\{", "$"]);

/** Whether the next token can begin a factor. */
export function startsFactor(cursor: Cursor): boolean {
  const token = cursor.peek();
  if (!token) return false;
  if (token.type === "mark") return OPENING.has(token.text) || (token.text === "|" && cursor.absolute === 0);
  return token.type !== "command" || !NO_FACTOR.test(token.text);
}

/** $5 as a quantity, if a currency sign is next. */
export function currency(cursor: Cursor): Expression | null {
  if (!cursor.took("$")) return null;
  return { kind: "quantity", value: power(cursor), unit: "dollar" };
}

/** A factor with its suffixes: exponents, factorials, degrees, percents. */
export function power(cursor: Cursor): Expression {
  return cursor.inside(() => {
    let value = primary(cursor);
    for (;;) {
      if (cursor.took("^")) value = raised(cursor, value);
      else if (cursor.took("!")) value = { kind: "call", name: "factorial", args: [value] };
      else if (cursor.took("%")) value = { kind: "quantity", value, unit: "percent" };
      else if (cursor.took("°")) value = { kind: "quantity", value, unit: "deg" };
      else if (value.kind === "number" && cursor.isMark("'")) {
        value = { kind: "quantity", value, unit: primes(cursor) === 1 ? "arcmin" : "arcsec" };
      } else return value;
    }
  });
}

function raised(cursor: Cursor, base: Expression): Expression {
  const primed = primesInBraces(cursor);
  if (primed > 0) {
    if (base.kind === "symbol") return { ...base, name: base.name + "'".repeat(primed) };
    return { kind: "quantity", value: base, unit: primed === 1 ? "arcmin" : "arcsec" };
  }
  if (cursor.took("*")) return base.kind === "symbol" ? { ...base, name: `${base.name}*` } : base;
  const minus = cursor.took("-");
  if (!minus) cursor.took("+");
  const exponent = argument(cursor);
  return { kind: "power", base, exponent: minus ? { kind: "negative", arg: exponent } : exponent };
}

function primes(cursor: Cursor): number {
  let count = 0;
  while (cursor.took("'")) count++;
  return count;
}

function primesInBraces(cursor: Cursor): number {
  if (cursor.isMark("'")) return primes(cursor);
  let ahead = 1;
  while (cursor.isMark("'", ahead)) ahead++;
  if (!cursor.isMark("{") || ahead === 1 || !cursor.isMark("}", ahead)) return 0;
  cursor.at += ahead + 1;
  return ahead - 1;
}

/** A macro's argument: a group, or the next symbol or number; or only one digit of it if `digit`. */
export function argument(cursor: Cursor, digit = false): Expression {
  if (cursor.isMark("{")) return group(cursor);
  const token = cursor.peek();
  if (digit && token?.type === "number" && /^\d{2,}$/.test(token.text)) {
    const part = (text: string): Token => ({ ...token, text, value: { num: BigInt(text), den: 1n }, decimals: null });
    cursor.replace(part(token.text[0]), part(token.text.slice(1)));
  }
  return cursor.inside(() => primary(cursor));
}

/** {…}: one value, or a list if it contains commas. */
function group(cursor: Cursor): Expression {
  cursor.expect("{");
  const outer = cursor.absolute;
  cursor.absolute = 0;
  const { items, or } = cursor.grammar.items(cursor);
  if (cursor.isCommand("choose") || cursor.isCommand("over")) {
    const name = cursor.next().text;
    const below = cursor.grammar.sum(cursor);
    cursor.expect("}");
    cursor.absolute = outer;
    if (items.length !== 1) throw new SyntaxFault(`${name} needs one value above`);
    return name === "over"
      ? { kind: "quotient", dividend: items[0], divisor: below }
      : { kind: "call", name: "binom", args: [items[0], below] };
  }
  cursor.expect("}");
  cursor.absolute = outer;
  if (items.length === 0) throw new SyntaxFault("an empty group");
  return items.length === 1 ? items[0] : { kind: "list", items, or };
}

function primary(cursor: Cursor): Expression {
  const token = cursor.next();
  switch (token.type) {
    case "number":
      return numeral(cursor, token);
    case "word":
      return word(cursor, token);
    case "text":
      return romanText(cursor, token);
    case "command":
      return command(cursor, token.text);
    case "mark":
      return cursor.inside(() => bracket(cursor, token.text));
  }
}

function numeral(cursor: Cursor, token: NumberToken): Expression {
  const { value, decimals } = token;
  if (cursor.isMark("_")) {
    cursor.next();
    const base = baseOf(cursor);
    return { kind: "number", value, decimals, base };
  }
  const literal: Expression = { kind: "number", value, decimals, base: null };
  if (!isInteger(value) || decimals !== null) return literal;
  const fraction = properFraction(cursor);
  return fraction ? { kind: "sum", terms: [literal, fraction] } : literal;
}

/** The base of 52_8, 4210_{5} and 11_{\text{two}}. */
function baseOf(cursor: Cursor): number {
  const braced = cursor.took("{");
  const token = cursor.next();
  if (braced) cursor.expect("}");
  const names = "two three four five six seven eight nine ten eleven twelve".split(" ");
  if (token.type === "number") return Number(token.value.num);
  const named = names.indexOf(token.text.replace(/^\(?(?:base)?\s*|\)$/g, "").toLowerCase());
  if (named < 0) throw new SyntaxFault("a number's subscript is its base");
  return named + 2;
}

/** The 1/2 of 3 1/2 and 3\frac{1}{2}: a fraction of integers below 1. */
function properFraction(cursor: Cursor): Expression | null {
  const start = cursor.at;
  const first = cursor.peek();
  const found: NumberToken[] = [];
  if (first?.type === "number" && first.space && cursor.isMark("/", 1)) {
    cursor.next();
    cursor.next();
    found.push(first, cursor.next() as NumberToken);
  } else if (first?.type === "command" && /^[dtc]?frac$/.test(first.text)) {
    cursor.next();
    for (const _ of [0, 1]) {
      const token = cursor.isMark("{") ? cursor.peek(1) : cursor.peek();
      if (token?.type !== "number" || (cursor.isMark("{") && !cursor.isMark("}", 2))) break;
      const digits = /^\d{2}$/.exec(token.text);
      if (!cursor.isMark("{") && found.length === 0 && digits) {
        const part = (d: string): NumberToken => ({ ...token, text: d, value: { num: BigInt(d), den: 1n } });
        found.push(part(token.text[0]), part(token.text[1]));
        cursor.at++;
        break;
      }
      found.push(token);
      cursor.at += cursor.isMark("{") ? 3 : 1;
    }
  }
  const [num, den] = found;
  const whole = (token: NumberToken | undefined): token is NumberToken =>
    token?.type === "number" && token.decimals === null && isInteger(token.value);
  if (whole(num) && whole(den) && compare(num.value, ZERO) > 0 && compare(num.value, den.value) < 0) {
    const literal = (value: Rational): Expression => ({ kind: "number", value, decimals: null, base: null });
    return { kind: "quotient", dividend: literal(num.value), divisor: literal(den.value) };
  }
  cursor.at = start;
  return null;
}

const CONSTANTS: Readonly<Record<string, "pi" | "e" | "i" | "infinity">> = {
  pi: "pi",
  e: "e",
  i: "i",
  infty: "infinity",
  infinity: "infinity",
  inf: "infinity",
  oo: "infinity",
};

/** A plain word: a function, a constant, a Greek letter's name, else multiplied letters. */
function word(cursor: Cursor, token: Token): Expression {
  const { text } = token;
  const lower = text.toLowerCase();
  if (text.length > 1 && isFunction(lower) && (lower === text || cursor.isMark("("))) return call(cursor, lower);
  if (text.length > 1 && Object.hasOwn(CONSTANTS, lower)) return { kind: "constant", name: CONSTANTS[lower] };
  if (text.length > 1 && !GREEK.test(text)) {
    const prefix = functionNamed(text);
    const cut = prefix && text.length - prefix.length === 1 ? prefix.length : 1;
    cursor.at--;
    cursor.replace(
      { ...token, text: text.slice(0, cut) } as Token,
      {
        ...token,
        text: text.slice(cut),
        space: false,
      } as Token,
    );
    return primary(cursor);
  }
  return symbol(cursor, text);
}

/** \mathrm{…} and \text{…} in the place of a value. */
function romanText(cursor: Cursor, token: Extract<Token, { type: "text" }>): Expression {
  const { text, macro } = token;
  if (macro === "mathbb") return { kind: "symbol", name: `ℝℤℕℚℂ`["RZNQC".indexOf(text)] ?? text, index: null };
  if (isFunction(text)) return call(cursor, text);
  if (text === "and" || text === "") throw new SyntaxFault("text between values");
  if (/^[a-zA-Z]$/.test(text)) return symbol(cursor, text);
  const inner = /^\\([a-zA-Z]+)$/.exec(text);
  return symbol(cursor, inner ? inner[1] : text);
}

function command(cursor: Cursor, name: string): Expression {
  if (/^[dtc]?frac$/.test(name)) {
    const dividend = argument(cursor, true);
    return { kind: "quotient", dividend, divisor: argument(cursor, true) };
  }
  if (/^[dt]?binom$/.test(name)) {
    const above = argument(cursor, true);
    return { kind: "call", name: "binom", args: [above, argument(cursor, true)] };
  }
  if (name === "boxed" || name === "fbox" || name === "underline" || name === "ensuremath") return argument(cursor);
  if (name === "emptyset" || name === "varnothing") return { kind: "set", items: [] };
  if (name.startsWith("begin{")) return environment(cursor, name.slice(6, -1));
  if (isFunction(name)) return call(cursor, name);
  if (Object.hasOwn(CONSTANTS, name) && name.length > 1) return { kind: "constant", name: CONSTANTS[name] };
  const pairs: Record<string, string> = { lfloor: "rfloor", lceil: "rceil", langle: "rangle" };
  if (Object.hasOwn(pairs, name)) {
    const { items } = cursor.grammar.items(cursor);
    if (!cursor.isCommand(pairs[name])) throw new SyntaxFault(`\\${name} is not closed`);
    cursor.next();
    if (name === "langle") return { kind: "tuple", items, bracket: "(" };
    if (items.length !== 1) throw new SyntaxFault(`\\${name} of a list`);
    return { kind: "call", name: name === "lfloor" ? "floor" : "ceil", args: [items[0]] };
  }
  if (ACCENT.test(name)) {
    const arg = argument(cursor);
    const inner = arg.kind === "symbol" ? arg.name : arg.kind === "product" ? arg.factors.map(nameOf).join("") : "";
    if (inner === "") throw new SyntaxFault(`\\${name} needs a name`);
    return symbol(cursor, /^(?:vec|mathbf)$/.test(name) ? inner : `${name} ${inner}`);
  }
  if (/^(?:int|iint|oint|lim|limsup|liminf)$/.test(name)) throw new SyntaxFault(`\\${name} is not read`);
  const variants: Record<string, string> = { varepsilon: "epsilon", varphi: "phi", vartheta: "theta", hslash: "hbar" };
  return symbol(cursor, variants[name] ?? name);
}

function nameOf(e: Expression): string {
  return e.kind === "symbol" || e.kind === "constant" ? e.name : "";
}

/** A symbol with its subscript and primes, or a function call. */
function symbol(cursor: Cursor, letter: string): Expression {
  let name = letter;
  let index: Expression | null = null;
  if (cursor.took("_")) {
    const token = cursor.isMark("{") ? cursor.peek(1) : cursor.peek();
    const alone = !cursor.isMark("{") || cursor.isMark("}", 2);
    if (alone && (token?.type === "text" || token?.type === "number" || (token?.type === "word" && token.text[1]))) {
      cursor.at += cursor.isMark("{") ? 3 : 1;
      name += `_${token.text}`;
    } else index = argument(cursor);
  } else {
    // x1 is x_1
    const next = cursor.peek();
    if (next?.type === "number" && !next.space && letter.length === 1 && /^\d{1,2}$/.test(next.text)) {
      cursor.next();
      name += `_${next.text}`;
    }
  }
  name += "'".repeat(primes(cursor));
  if (name.length === 1 && index === null && Object.hasOwn(CONSTANTS, name)) {
    return { kind: "constant", name: CONSTANTS[name] };
  }
  const head: Expression = { kind: "symbol", name, index };
  if (!cursor.isMark("(") || !isCall(cursor, letter)) return head;
  cursor.next();
  const { items } = cursor.grammar.items(cursor);
  cursor.expect(")");
  return { kind: "call", name: index ? `${name}[]` : name, args: index ? [index, ...items] : items };
}

/** f(x+1) is a call, n(n+1) a product; x(t) is a call too, because products are not written this way. */
function isCall(cursor: Cursor, letter: string): boolean {
  if (/^[fgFG]$/.test(letter)) return true;
  for (let ahead = 1; ; ahead++) {
    const token = cursor.peek(ahead);
    if (!token) return false;
    if (token.type === "mark" && token.text === ")") return ahead > 1;
    const expected = ahead % 2 === 1 ? token.type === "number" || /^[a-z]$/i.test(token.text) : token.text === ",";
    if (!expected) return false;
  }
}

/** Parses after an opening bracket: a value in parentheses, a tuple, an interval, a set, an absolute value. */
function bracket(cursor: Cursor, open: string): Expression {
  if (open === "{") {
    cursor.at--;
    return group(cursor);
  }
  if (open === "|") {
    cursor.absolute++;
    const inner = cursor.grammar.sum(cursor);
    cursor.expect("|");
    cursor.absolute--;
    return { kind: "call", name: "abs", args: [inner] };
  }
  if (open !== "(" && open !== "[" && open !== "\\{") throw new SyntaxFault(`${open} begins no value`);
  const outer = cursor.absolute;
  cursor.absolute = open === "\\{" ? 1 : 0;
  const { items } = cursor.grammar.items(cursor);
  if (open === "\\{" && items.length === 1 && (cursor.took("|") || cursor.took(":"))) {
    // {x | condition}: the condition is the set
    const { items: conditions, or } = cursor.grammar.items(cursor);
    cursor.expect("\\}");
    cursor.absolute = outer;
    return conditions.length === 1 ? conditions[0] : { kind: "list", items: conditions, or };
  }
  const close = open === "\\{" ? cursor.expect("\\}") : cursor.expect(")", "]");
  cursor.absolute = outer;
  if (open === "\\{") return { kind: "set", items };
  if (items.length === 0) throw new SyntaxFault("empty brackets");
  const square = { from: open === "[", to: close === "]" };
  if (items.length === 2 && (square.from || square.to)) {
    return { kind: "interval", from: items[0], to: items[1], closedFrom: square.from, closedTo: square.to };
  }
  if (square.from !== square.to) throw new SyntaxFault("an interval has two ends");
  if (items.length === 1) return items[0];
  return { kind: "tuple", items, bracket: square.from ? "[" : "(" };
}

const MATRIX = /^(?:[pbBvV]?matrix|smallmatrix|array)$/;
const ROWS = /^(?:cases|aligned|align|gathered|gather|split|eqnarray)$/;

function environment(cursor: Cursor, name: string): Expression {
  const matrix = MATRIX.test(name);
  if (!matrix && !ROWS.test(name)) throw new SyntaxFault(`${name} is not read`);
  const rows: Expression[][] = [];
  let row: Expression[] = [];
  const end = `end{${name}}`;
  while (!cursor.isCommand(end)) {
    if (cursor.took("\\\\")) {
      if (row.length > 0) rows.push(row);
      row = [];
    } else if (!cursor.took("&") && !cursor.took(",")) row.push(cursor.inside(() => cursor.grammar.item(cursor)));
  }
  cursor.next();
  if (row.length > 0) rows.push(row);
  if (rows.length === 0) throw new SyntaxFault("an empty matrix");
  if (!matrix) return { kind: "list", items: rows.map(([first]) => first), or: false };
  if (rows.some(({ length }) => length !== rows[0].length)) throw new SyntaxFault("rows of different lengths");
  return { kind: "matrix", rows };
}
