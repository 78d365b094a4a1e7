import { childrenOf, type Expression, mapChildren, someInside, symbolsOf } from "./expression.ts";

/** An answer with its name: x = 5, f(x) = 2x, (p, q) = (3, 2), x ∈ [0, 1]. */
interface Named {
  /** null if the answer was at the end of a chain of numbers */
  name: string | null;
  /** the parameters of a function's name */
  parameters: readonly string[];
  value: Expression;
}

/** The named value of a relation; null for other equations and inequalities. */
export function namedValue(e: Expression): Named | null {
  if (e.kind !== "relation") return null;
  const { sides, ops } = e;
  if (ops.length === 1 && ops[0] === "∈") {
    const name = nameOf(sides[0]);
    return name === null ? null : { name, parameters: [], value: sides[1] };
  }
  if (ops.some((op) => op !== "=")) return null;
  const first = nameOf(sides[0]);
  if (first !== null) return { name: first, parameters: parametersOf(sides[0]), value: sides[sides.length - 1] };
  const last = nameOf(sides[sides.length - 1]);
  if (last !== null && symbolsOf(sides[0]).size === 0) return { name: last, parameters: [], value: sides[0] };
  // 9^2 + 1 = 81 + 1 = 82
  if (sides.every((side) => symbolsOf(side).size === 0 || nameOf(side) !== null)) {
    return { name: null, parameters: [], value: sides[sides.length - 1] };
  }
  return null;
}

/** A side of a relation as a name: x, x_1, f(x), AB, ∠ABC, |AB|, A:B, (x, y), or words. */
function nameOf(e: Expression): string | null {
  switch (e.kind) {
    case "symbol":
      return e.index && someInside(e.index, ({ kind }) => kind === "sum") ? null : `${e.name}${e.index ? "[]" : ""}`;
    case "text":
      return e.text.toLowerCase();
    case "call": {
      const inner = e.args.map((arg) => (arg.kind === "symbol" ? arg.name : null));
      if (e.name === "abs") return nameOf(e.args[0]);
      return inner.includes(null) || e.name.length > 6 ? null : `${e.name}(${inner.length})`;
    }
    case "product": {
      // points, which are capital letters, name lengths and angles
      const letters = e.factors.map((factor) => (factor.kind === "symbol" && !factor.index ? factor.name : ""));
      const points = letters.filter((name) => name !== "angle" && name !== "triangle");
      return points.length > 0 && points.every((name) => /^[A-Z](?:_\d)?'?$/.test(name)) ? letters.join("") : null;
    }
    case "ratio":
    case "tuple": {
      const inner = childrenOf(e).map(nameOf);
      return inner.includes(null) ? null : inner.join(e.kind === "ratio" ? ":" : ",");
    }
    default:
      return null;
  }
}

function parametersOf(e: Expression): string[] {
  return e.kind === "call" ? e.args.flatMap((arg) => (arg.kind === "symbol" ? [arg.name] : [])) : [];
}

/** Whether two names may mean the same: y matches f(x), and the order of points does not matter. */
export function sameName(a: Named, b: Named): boolean {
  if (a.name === null || b.name === null || a.name === b.name) return true;
  const isFunction = ({ parameters }: Named) => parameters.length > 0;
  if (isFunction(a) && isFunction(b)) return a.parameters.length === b.parameters.length && a.name[0] === b.name[0];
  return (isFunction(a) && b.name === "y") || (isFunction(b) && a.name === "y");
}

/** A function's value with renamed parameters. */
export function renamed(e: Expression, from: readonly string[], to: readonly string[]): Expression {
  if (from.length !== to.length || from.every((name, i) => name === to[i])) return e;
  if (e.kind === "symbol" && !e.index && from.includes(e.name)) return { ...e, name: to[from.indexOf(e.name)] };
  return mapChildren(e, (child) => renamed(child, from, to));
}

/** a ± b as a + b and a − b; ± and ∓ of one expression go together. */
export function withoutPlusMinus(e: Expression): Expression[] {
  if (!someInside(e, ({ kind }) => kind === "plusminus")) return [e];
  return [1, -1].map((sign) => signed(e, sign));
}

function signed(e: Expression, sign: number): Expression {
  const inner = mapChildren(e, (child) => signed(child, sign));
  if (inner.kind !== "plusminus") return inner;
  const positive = sign > 0 !== inner.flipped;
  const term: Expression = positive ? inner.right : { kind: "negative", arg: inner.right };
  return inner.left ? { kind: "sum", terms: [inner.left, term] } : term;
}
