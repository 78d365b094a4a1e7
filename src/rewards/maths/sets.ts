import type { Budget } from "./evaluate.ts";
import { evaluate } from "./evaluate.ts";
import { type Expression, type Relation, symbolsOf } from "./expression.ts";
import { realValue } from "./scalars.ts";

/** An interval of the reals; a point where both ends are one. */
interface Piece {
  from: number;
  to: number;
  closedFrom: boolean;
  closedTo: boolean;
}

/** Pieces that do not touch, in order. */
type RealSet = readonly Piece[];

const ALL: RealSet = [
  { from: Number.NEGATIVE_INFINITY, to: Number.POSITIVE_INFINITY, closedFrom: false, closedTo: false },
];

/** The set of reals that an interval, a union, an inequality or a list of points means; null where it means none. */
export function realSet(e: Expression, budget: Budget): RealSet | null {
  switch (e.kind) {
    case "interval":
    case "tuple": {
      const [low, high] = e.kind === "tuple" ? e.items : [e.from, e.to];
      if (e.kind === "tuple" && (e.items.length !== 2 || e.bracket === "[")) return null;
      const [from, to] = [realValue(low, budget), realValue(high, budget)];
      if (from === null || to === null || from > to) return null;
      const closed = e.kind === "interval" ? e : { closedFrom: false, closedTo: false };
      return tidy([
        {
          from,
          to,
          closedFrom: closed.closedFrom && from !== Number.NEGATIVE_INFINITY,
          closedTo: closed.closedTo && to !== Number.POSITIVE_INFINITY,
        },
      ]);
    }
    case "set": {
      const points = e.items.map((item) => realValue(item, budget));
      if (points.includes(null)) return null;
      return tidy((points as number[]).map((at) => ({ from: at, to: at, closedFrom: true, closedTo: true })));
    }
    case "symbol":
      return e.name === "ℝ" ? ALL : null;
    case "setop": {
      const [left, right] = [realSet(e.left, budget), realSet(e.right, budget)];
      if (!left || !right) return null;
      if (e.name === "union") return tidy([...left, ...right]);
      return intersect(left, e.name === "minus" ? complement(right) : right);
    }
    case "relation":
      return ofRelation(e.sides, e.ops, budget);
    case "list": {
      const sets = e.items.map((item) => (item.kind === "relation" ? realSet(item, budget) : null));
      if (sets.some((set) => set === null) || symbolsOf(e).size !== 1) return null;
      const parts = sets as RealSet[];
      const both = parts.reduce(intersect);
      return e.or || both.length === 0 ? tidy(parts.flat()) : both;
    }
    default:
      return null;
  }
}

function ofRelation(sides: readonly Expression[], ops: readonly Relation[], budget: Budget): RealSet | null {
  if (ops.length === 1 && ops[0] === "∈") return sides[0].kind === "symbol" ? realSet(sides[1], budget) : null;
  const variables = new Set(sides.flatMap((side) => [...symbolsOf(side)]));
  if (variables.size !== 1 || ops.includes("∈")) return null;
  const [variable] = variables;
  let set: RealSet = ALL;
  for (const [i, op] of ops.entries()) {
    const own = ofInequality(sides[i], op, sides[i + 1], variable, budget);
    if (!own) return null;
    set = intersect(set, own);
  }
  return set;
}

/** The solutions of left op right, where it is linear in its variable or plainly about it. */
function ofInequality(
  left: Expression,
  op: Relation,
  right: Expression,
  variable: string,
  budget: Budget,
): RealSet | null {
  const isIt = (e: Expression) => e.kind === "symbol" && e.name === variable && !e.index;
  let bound: number | null = null;
  let rising = true;
  if (isIt(left)) bound = realValue(right, budget);
  else if (isIt(right)) {
    bound = realValue(left, budget);
    rising = false;
  }
  if (bound === null) {
    const difference: Expression = { kind: "sum", terms: [left, { kind: "negative", arg: right }] };
    const at = (x: number) =>
      evaluate(difference, { values: new Map([[variable, { re: x, im: 0 }]]), seed: 0, real: true }, budget).value.re;
    const [low, middle, high] = [at(-1.7), at(0.9), at(3.5)];
    const slope = (high - low) / 5.2;
    const curved = Math.abs(low + high - 2 * middle) > 1e-9 * (Math.abs(low) + Math.abs(high) + 1);
    if (!(Math.abs(slope) > 1e-9) || curved) return null;
    // doubles that should be whole or simple are, so that ends can be compared
    bound = Number((3.5 - high / slope).toPrecision(12));
    rising = slope > 0;
  }
  const { NEGATIVE_INFINITY: low, POSITIVE_INFINITY: high } = Number;
  const above = (closed: boolean): RealSet => [{ from: bound, to: high, closedFrom: closed, closedTo: false }];
  const below = (closed: boolean): RealSet => [{ from: low, to: bound, closedFrom: false, closedTo: closed }];
  if (!Number.isFinite(bound)) return /[<>]/.test(op) ? ALL : null;
  if (op === "=") return [{ from: bound, to: bound, closedFrom: true, closedTo: true }];
  if (op === "≠") return [...below(false), ...above(false)];
  const closed = op === "≤" || op === "≥";
  return (op === ">" || op === "≥") === rising ? above(closed) : below(closed);
}

function near(a: number, b: number): boolean {
  if (!Number.isFinite(a) || !Number.isFinite(b)) return a === b;
  return Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(a), Math.abs(b));
}

/** In order, without empty pieces, those that touch joined. */
function tidy(pieces: readonly Piece[]): RealSet {
  const full = pieces.filter((p) => (near(p.from, p.to) ? p.closedFrom && p.closedTo : p.from < p.to));
  const sorted = [...full].sort((a, b) => a.from - b.from || Number(b.closedFrom) - Number(a.closedFrom));
  const joined: Piece[] = [];
  for (const piece of sorted) {
    const last = joined.at(-1);
    const touches =
      last && (piece.from < last.to || (near(piece.from, last.to) && (piece.closedFrom || last.closedTo)));
    if (!touches) {
      joined.push({ ...piece });
      continue;
    }
    if (near(piece.to, last.to)) last.closedTo ||= piece.closedTo;
    else if (piece.to > last.to) [last.to, last.closedTo] = [piece.to, piece.closedTo];
  }
  return joined;
}

function intersect(a: RealSet, b: RealSet): RealSet {
  const pieces: Piece[] = [];
  for (const p of a) {
    for (const q of b) {
      const from = Math.max(p.from, q.from);
      const to = Math.min(p.to, q.to);
      pieces.push({
        from,
        to,
        closedFrom: (p.from < from || p.closedFrom) && (q.from < from || q.closedFrom),
        closedTo: (p.to > to || p.closedTo) && (q.to > to || q.closedTo),
      });
    }
  }
  return tidy(pieces);
}

function complement(set: RealSet): RealSet {
  let rest = ALL;
  for (const { from, to, closedFrom, closedTo } of set) {
    const outside: Piece[] = [
      { from: Number.NEGATIVE_INFINITY, to: from, closedFrom: false, closedTo: !closedFrom && Number.isFinite(from) },
      { from: to, to: Number.POSITIVE_INFINITY, closedFrom: !closedTo && Number.isFinite(to), closedTo: false },
    ];
    rest = intersect(rest, outside);
  }
  return rest;
}

export function equalSets(a: RealSet, b: RealSet): boolean {
  return (
    a.length === b.length &&
    a.every((p, i) => {
      const q = b[i];
      const ends = near(p.from, q.from) && near(p.to, q.to);
      return ends && p.closedFrom === q.closedFrom && p.closedTo === q.closedTo;
    })
  );
}
