import { Cursor, type Grammar } from "./cursor.ts";
import type { Expression, Relation } from "./expression.ts";
import { argument, currency, power, startsFactor } from "./factor.ts";
import { type CommaReading, SyntaxFault, type Token, tokenize } from "./lexer.ts";
import { isUnitWord } from "./units.ts";

/** Longer answers, in characters, are compared as text. */
const MAX_LENGTH = 3000;

const RELATIONS: Readonly<Record<string, Relation>> = {
  "=": "=",
  "≠": "≠",
  "<": "<",
  ">": ">",
  "≤": "≤",
  "≥": "≥",
  "∈": "∈",
};

/** Words that begin an explanation after an answer. */
const REMARK = /^(?:,\s*)?\(?(?:for|where|when|if|with|since|because|as|is|are|such|so|which|that|at|by|from)\b/i;

const isRemark = (token: Token | undefined) =>
  token?.type === "text"
    ? REMARK.test(token.text)
    : token?.type === "word" && /^(?:for|where|when|if|with|since|because|such)$/i.test(token.text);

/**
 * Parses an answer, in LaTeX or plain. Always ends: text, tokens and depth are limited, and every rule takes a token.
 *
 * @returns null if it is not mathematics
 */
export function parseAnswer(text: string, commas: CommaReading = "thousands"): Expression | null {
  if (text.length > MAX_LENGTH) return null;
  try {
    const cursor = new Cursor(tokenize(text, commas), GRAMMAR);
    const { items, or } = answerItems(cursor);
    if (!cursor.ended || items.length === 0) return null;
    return items.length === 1 ? items[0] : { kind: "list", items, or };
  } catch (error) {
    if (error instanceof SyntaxFault) return null;
    throw error;
  }
}

const isSeparator = (token: Token | undefined) => token?.type === "mark" && /^(?:,|;|\\\\|or)$/.test(token.text);

function answerItems(cursor: Cursor): { items: Expression[]; or: boolean } {
  const items: Expression[] = [];
  let or = false;
  for (;;) {
    while (isSeparator(cursor.peek())) or = cursor.next().text === "or" || or;
    if (items.length > 0 && isRemark(cursor.peek())) cursor.cut();
    if (cursor.ended || !startsItem(cursor)) return { items, or };
    items.push(cursor.inside(() => item(cursor)));
    if (!isSeparator(cursor.peek())) return { items, or };
  }
}

function startsItem(cursor: Cursor): boolean {
  const token = cursor.peek()!;
  return startsFactor(cursor) || token.type === "text" || (token.type === "mark" && "+-±∓≈→".includes(token.text));
}

/** A relation, or one side of it. The text after ≈ repeats the value; the text before → only leads to it. */
function item(cursor: Cursor): Expression {
  const word = leadingText(cursor);
  const sides = [word ?? side(cursor)];
  const ops: Relation[] = [];
  for (;;) {
    const token = cursor.peek();
    if (token?.type !== "mark") break;
    if (token.text === "→") {
      cursor.next();
      return item(cursor);
    }
    if (token.text === "≈") {
      cursor.next();
      side(cursor);
      continue;
    }
    if (!Object.hasOwn(RELATIONS, token.text)) break;
    cursor.next();
    ops.push(RELATIONS[token.text]);
    sides.push(leadingText(cursor) ?? side(cursor));
  }
  if (ops.length === 0) return sides[0];
  return { kind: "relation", sides, ops };
}

/** Text at the start of an item: the whole item, a name before = or :, or an introduction to skip. */
function leadingText(cursor: Cursor): Expression | null {
  const token = cursor.peek();
  if (token?.type !== "text" || /^[a-zA-Z]$/.test(token.text) || token.macro === "mathbb") return null;
  if (token.macro === "operatorname" || (token.macro === "mathrm" && startsFactor(cursor))) return null;
  cursor.next();
  const next = cursor.peek();
  if (!next || isSeparator(next) || (next.type === "mark" && /^(?:=|≠|\)|\]|\}|\\\}|&)$/.test(next.text))) {
    const inner = /^\(([A-Za-z])\)$/.exec(token.text);
    return { kind: "text", text: inner ? inner[1] : token.text };
  }
  cursor.took(":");
  return leadingText(cursor);
}

/** Sums joined by : ∪ ∩ ∖ */
function side(cursor: Cursor): Expression {
  let left = sum(cursor);
  for (;;) {
    const token = cursor.peek();
    if (cursor.isMark(":")) {
      const parts = [left];
      while (cursor.took(":")) parts.push(sum(cursor));
      left = { kind: "ratio", parts };
    } else if (token?.type === "mark" && (token.text === "∪" || token.text === "∩")) {
      cursor.next();
      left = { kind: "setop", name: token.text === "∪" ? "union" : "intersection", left, right: sum(cursor) };
    } else if (cursor.isCommand("setminus") || cursor.isCommand("backslash")) {
      cursor.next();
      left = { kind: "setop", name: "minus", left, right: sum(cursor) };
    } else return left;
  }
}

const STRUCTURAL = new Set(["text", "relation", "list"]);

function operand(e: Expression): Expression {
  if (STRUCTURAL.has(e.kind)) throw new SyntaxFault(`a ${e.kind} has no sum`);
  return e;
}

function sum(cursor: Cursor): Expression {
  let terms: Expression[] = [];
  for (let first = true; ; first = false) {
    const token = cursor.peek();
    const sign = token?.type === "mark" && "+-±∓".includes(token.text) ? token.text : null;
    if (sign === null && !first) break;
    if (sign !== null) cursor.next();
    const term = cursor.inside(() => product(cursor));
    if (sign === "±" || sign === "∓") {
      const left = terms.length === 0 ? null : gathered(terms);
      terms = [{ kind: "plusminus", left, right: operand(term), flipped: sign === "∓" }];
    } else if (sign === "-") terms.push({ kind: "negative", arg: operand(term) });
    else terms.push(term);
  }
  if (terms.length === 1) return negativeQuantity(terms[0]);
  return gathered(terms);
}

/** −(5 cm) is (−5) cm */
function negativeQuantity(e: Expression): Expression {
  if (e.kind !== "negative" || e.arg.kind !== "quantity") return e;
  return { ...e.arg, value: { kind: "negative", arg: e.arg.value } };
}

/** A sum; a unit after its last term applies to the whole sum, if no other term has a unit. */
function gathered(terms: readonly Expression[]): Expression {
  if (terms.length === 1) return terms[0];
  const plain = terms.map(operand);
  const last = negativeQuantity(plain[plain.length - 1]);
  if (last.kind !== "quantity" || plain.slice(0, -1).some(({ kind }) => kind === "quantity")) {
    return { kind: "sum", terms: plain };
  }
  return { kind: "quantity", value: { kind: "sum", terms: [...plain.slice(0, -1), last.value] }, unit: last.unit };
}

function product(cursor: Cursor): Expression {
  let value = signedFactor(cursor);
  for (;;) {
    const token = cursor.peek();
    if (!token) return value;
    const unit = unitAt(cursor, value);
    if (unit !== null) {
      if (unit !== "") value = { kind: "quantity", value: operand(value), unit };
    } else if (cursor.took("*")) value = times(value, signedFactor(cursor));
    else if (cursor.took("/")) {
      value = { kind: "quotient", dividend: operand(value), divisor: operand(signedFactor(cursor)) };
    } else if (token.type === "mark" && token.text === "$") {
      cursor.next();
      value = { kind: "quantity", value: operand(value), unit: "dollar" };
    } else if (startsFactor(cursor)) {
      // two adjacent numbers are neither a product nor one number
      if (token.type === "number" && value.kind === "number") throw new SyntaxFault("two numbers side by side");
      value = times(value, power(cursor));
    } else return value;
  }
}

function times(a: Expression, b: Expression): Expression {
  // the unit of a factor belongs to the product: 2 × 5 cm
  if (b.kind === "quantity" && a.kind !== "quantity") return { ...b, value: times(a, b.value) };
  const factors = a.kind === "product" ? [...a.factors, operand(b)] : [operand(a), operand(b)];
  return { kind: "product", factors };
}

function signedFactor(cursor: Cursor): Expression {
  if (cursor.took("-")) return { kind: "negative", arg: operand(cursor.inside(() => signedFactor(cursor))) };
  if (cursor.took("+")) return cursor.inside(() => signedFactor(cursor));
  return currency(cursor) ?? power(cursor);
}

/** 10 m/s: letters that are units only together, and only with a space after the number. */
function isRate(cursor: Cursor): boolean {
  const [above, slash, below] = [0, 1, 2].map((ahead) => cursor.peek(ahead));
  if (above?.type !== "word" || !above.space || slash?.type !== "mark" || slash.text !== "/") return false;
  return /^[mgkVJNW]$/.test(above.text) && below?.type === "word" && /^(?:s|h|min|m|A|K|kg|mol)$/.test(below.text);
}

const PERCENT = /^(?:percent|percentage|pct)\.?$/i;

/** Takes the unit after a value; empty if there is only a remark; null if there is neither. */
function unitAt(cursor: Cursor, value: Expression): string | null {
  const first = cursor.peek();
  if (isRemark(first)) {
    cursor.cut();
    return "";
  }
  if (first?.type === "text") {
    if (first.macro === "operatorname" || first.macro === "mathbb") return null;
    if (/^(?:mathrm|mathbf|mathit|mathcal|bm|pmb|mathsf|mathfrak|mathscr)$/.test(first.macro)) {
      // \mathrm{m} is the metre after a number, and a variable elsewhere
      const metric = /^(?:mathrm|mathsf)$/.test(first.macro) && value.kind !== "symbol";
      if (!metric || (first.text.length === 1 && !/[a-zA-Z]/.test(first.text))) return null;
    }
  } else if (first?.type !== "word" || !(isUnitWord(first.text) || isRate(cursor))) return null;
  let unit = "";
  for (;;) {
    const token = cursor.peek();
    if (!token) break;
    const divides = token.type === "mark" && /^[/*]$/.test(token.text);
    const begins = (t: Token | undefined) =>
      t?.type === "text" || (t?.type === "word" && (unit !== "" || isUnitWord(t.text) || isRate(cursor)));
    if (begins(token)) unit += ` ${cursor.next().text}`;
    else if (divides && unit !== "" && begins(cursor.peek(1))) unit += cursor.next().text === "/" ? "/" : " ";
    else if (cursor.isMark("^") && unit !== "") {
      cursor.next();
      unit += `^${exponentText(cursor)}`;
    } else break;
  }
  return PERCENT.test(unit.trim()) ? "percent" : unit.trim();
}

function exponentText(cursor: Cursor): string {
  const braced = cursor.took("{");
  const sign = cursor.took("-") ? "-" : "";
  const token = cursor.next();
  if (token.type !== "number") throw new SyntaxFault("a unit's exponent is a number");
  if (braced) cursor.expect("}");
  return `${sign}${token.text}`;
}

const GRAMMAR: Grammar = { items: answerItems, item, sum, product, power, argument, startsFactor };
