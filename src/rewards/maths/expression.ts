import type { Rational } from "./rational.ts";

/** A parsed answer. Structural kinds (list to text) occur only at the top or inside each other. */
export type Expression =
  | NumberLiteral
  | { kind: "symbol"; name: string; index: Expression | null }
  | { kind: "constant"; name: "pi" | "e" | "i" | "infinity" }
  | { kind: "sum"; terms: readonly Expression[] }
  | { kind: "product"; factors: readonly Expression[] }
  | { kind: "negative"; arg: Expression }
  | { kind: "quotient"; dividend: Expression; divisor: Expression }
  | { kind: "power"; base: Expression; exponent: Expression }
  /** a known function (sin, sqrt, floor, …) or a named one (f, Γ) */
  | { kind: "call"; name: string; args: readonly Expression[] }
  | {
      kind: "series";
      name: "sum" | "prod";
      variable: string;
      from: Expression;
      to: Expression;
      body: Expression;
    }
  /** left ± right; `flipped` is ∓ */
  | { kind: "plusminus"; left: Expression | null; right: Expression; flipped: boolean }
  | { kind: "quantity"; value: Expression; unit: string }
  | { kind: "list"; items: readonly Expression[]; or: boolean }
  | { kind: "set"; items: readonly Expression[] }
  /** `bracket`: [ for a Python list, or ⟨ */
  | { kind: "tuple"; items: readonly Expression[]; bracket: "(" | "[" }
  | { kind: "interval"; from: Expression; to: Expression; closedFrom: boolean; closedTo: boolean }
  | { kind: "matrix"; rows: readonly (readonly Expression[])[] }
  | { kind: "relation"; sides: readonly Expression[]; ops: readonly Relation[] }
  | { kind: "setop"; name: "union" | "intersection" | "minus"; left: Expression; right: Expression }
  | { kind: "ratio"; parts: readonly Expression[] }
  | { kind: "text"; text: string };

type Kind = Expression["kind"];
export type Relation = "=" | "≠" | "<" | ">" | "≤" | "≥" | "∈";

interface NumberLiteral {
  kind: "number";
  value: Rational;
  /** digits after the point, null without a point: 4.50 has two */
  decimals: number | null;
  /** 8 in 52_8: the digits are stored like a decimal's, and compared with numbers of the same base */
  base: number | null;
}

/** The direct children of an expression. */
export function childrenOf(e: Expression): readonly Expression[] {
  switch (e.kind) {
    case "number":
    case "constant":
    case "text":
      return [];
    case "symbol":
      return e.index ? [e.index] : [];
    case "sum":
      return e.terms;
    case "product":
      return e.factors;
    case "negative":
      return [e.arg];
    case "quotient":
      return [e.dividend, e.divisor];
    case "power":
      return [e.base, e.exponent];
    case "call":
      return e.args;
    case "series":
      return [e.from, e.to, e.body];
    case "plusminus":
      return e.left ? [e.left, e.right] : [e.right];
    case "quantity":
      return [e.value];
    case "list":
    case "set":
    case "tuple":
      return e.items;
    case "interval":
      return [e.from, e.to];
    case "matrix":
      return e.rows.flat();
    case "relation":
      return e.sides;
    case "setop":
      return [e.left, e.right];
    case "ratio":
      return e.parts;
  }
}

/** The same expression with its direct children replaced. */
export function mapChildren(e: Expression, map: (child: Expression) => Expression): Expression {
  switch (e.kind) {
    case "number":
    case "constant":
    case "text":
      return e;
    case "symbol":
      return e.index ? { ...e, index: map(e.index) } : e;
    case "sum":
      return { ...e, terms: e.terms.map(map) };
    case "product":
      return { ...e, factors: e.factors.map(map) };
    case "negative":
      return { ...e, arg: map(e.arg) };
    case "quotient":
      return { ...e, dividend: map(e.dividend), divisor: map(e.divisor) };
    case "power":
      return { ...e, base: map(e.base), exponent: map(e.exponent) };
    case "call":
      return { ...e, args: e.args.map(map) };
    case "series":
      return { ...e, from: map(e.from), to: map(e.to), body: map(e.body) };
    case "plusminus":
      return { ...e, left: e.left && map(e.left), right: map(e.right) };
    case "quantity":
      return { ...e, value: map(e.value) };
    case "list":
    case "set":
    case "tuple":
      return { ...e, items: e.items.map(map) };
    case "interval":
      return { ...e, from: map(e.from), to: map(e.to) };
    case "matrix":
      return { ...e, rows: e.rows.map((row) => row.map(map)) };
    case "relation":
      return { ...e, sides: e.sides.map(map) };
    case "setop":
      return { ...e, left: map(e.left), right: map(e.right) };
    case "ratio":
      return { ...e, parts: e.parts.map(map) };
  }
}

/** Whether an expression or one of its descendants passes a test. */
export function someInside(e: Expression, test: (e: Expression) => boolean): boolean {
  return test(e) || childrenOf(e).some((child) => someInside(child, test));
}

/** The names of an expression's free symbols; indexed symbols by their base. */
export function symbolsOf(e: Expression, found = new Set<string>(), bound: readonly string[] = []): Set<string> {
  if (e.kind === "symbol" && !bound.includes(e.name)) found.add(e.name);
  const inner = e.kind === "series" ? [...bound, e.variable] : bound;
  for (const child of childrenOf(e)) symbolsOf(child, found, inner);
  return found;
}

const NUMERIC_KINDS: ReadonlySet<Kind> = new Set([
  "number",
  "symbol",
  "constant",
  "sum",
  "product",
  "negative",
  "quotient",
  "power",
  "call",
  "series",
  "quantity",
]);

/** Whether an expression is one number: contains no set, list, relation or text. */
export function isScalar(e: Expression): boolean {
  return !someInside(e, ({ kind }) => !NUMERIC_KINDS.has(kind) && kind !== "ratio");
}

/** An expression as text, independent of the order of sums and products. */
export function keyOf(e: Expression): string {
  const inner = childrenOf(e).map(keyOf);
  switch (e.kind) {
    case "number":
      return `${e.value.num}/${e.value.den}${e.base === null ? "" : `_${e.base}`}`;
    case "constant":
      return e.name;
    case "symbol":
      return e.index ? `${e.name}[${inner[0]}]` : e.name;
    case "sum":
    case "product":
    case "set":
      return `${e.kind}(${inner.sort().join(",")})`;
    case "call":
      return `${e.name}(${inner.join(",")})`;
    case "series":
      return `${e.name}[${e.variable}](${inner.join(",")})`;
    case "text":
      return JSON.stringify(e.text);
    case "relation":
      return `relation ${e.ops.join("")}(${inner.join(",")})`;
    case "interval":
      return `${e.closedFrom ? "[" : "("}${inner.join(",")}${e.closedTo ? "]" : ")"}`;
    case "quantity":
      return `${inner[0]} ${e.unit}`;
    default:
      return `${e.kind}${"name" in e ? e.name : ""}${"flipped" in e && e.flipped ? "-" : ""}(${inner.join(",")})`;
  }
}
