import { order } from "./decide.ts";
import { Budget, evaluate } from "./evaluate.ts";
import { type Expression, keyOf, mapChildren, type Relation, symbolsOf } from "./expression.ts";
import { realValue } from "./scalars.ts";

/** A real number or an infinity: as a double, and as written. */
interface End {
  readonly at: number;
  /** null for an infinity */
  readonly e: Expression | null;
}

/** An interval of the reals; a point if both ends are equal. */
interface Piece {
  from: End;
  to: End;
  closedFrom: boolean;
  closedTo: boolean;
}

/** Disjoint pieces that do not touch, in order. */
type RealSet = readonly Piece[];

const LOW: End = { at: Number.NEGATIVE_INFINITY, e: null };
const HIGH: End = { at: Number.POSITIVE_INFINITY, e: null };
const ALL: RealSet = [{ from: LOW, to: HIGH, closedFrom: false, closedTo: false }];

/** Relative error of doubles. */
const ROUGH = 1e-6;
/** Work limit for one comparison of two ends. */
const STEPS = 20_000;

/** Which of two ends is larger, −1, 0 or 1: by their doubles if these are far apart, else digit by digit. */
function ordered(a: End, b: End): number {
  if (!a.e || !b.e || Math.abs(a.at - b.at) > ROUGH * Math.max(1, Math.abs(a.at), Math.abs(b.at))) {
    return Math.sign(a.at === b.at ? 0 : a.at - b.at);
  }
  if (a.e === b.e || keyOf(a.e) === keyOf(b.e)) return 0;
  return order(a.e, b.e, new Budget(STEPS)) ?? Math.sign(a.at - b.at);
}

const finite = ({ e }: End) => e !== null;
const larger = (a: End, b: End) => (ordered(a, b) >= 0 ? a : b);
const smaller = (a: End, b: End) => (ordered(a, b) <= 0 ? a : b);

/** The real value of a closed expression; null if it has none. */
function endOf(e: Expression, budget: Budget): End | null {
  const at = realValue(e, budget);
  if (at === null) return null;
  if (Number.isFinite(at)) return { at, e };
  return at > 0 ? HIGH : LOW;
}

/** The set of reals of an interval, a union, an inequality or a list of points; null for other expressions. */
export function realSet(e: Expression, budget: Budget): RealSet | null {
  switch (e.kind) {
    case "interval":
    case "tuple": {
      const [low, high] = e.kind === "tuple" ? e.items : [e.from, e.to];
      if (e.kind === "tuple" && (e.items.length !== 2 || e.bracket === "[")) return null;
      const [from, to] = [endOf(low, budget), endOf(high, budget)];
      if (from === null || to === null || ordered(from, to) > 0) return null;
      const closed = e.kind === "interval" ? e : { closedFrom: false, closedTo: false };
      return tidy([
        {
          from,
          to,
          closedFrom: closed.closedFrom && finite(from),
          closedTo: closed.closedTo && finite(to),
        },
      ]);
    }
    case "set": {
      const points = e.items.map((item) => endOf(item, budget));
      if (points.includes(null)) return null;
      return tidy((points as End[]).map((at) => ({ from: at, to: at, closedFrom: true, closedTo: true })));
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

/** The solutions of left op right, if it is linear in its variable or has the variable alone on one side. */
function ofInequality(
  left: Expression,
  op: Relation,
  right: Expression,
  variable: string,
  budget: Budget,
): RealSet | null {
  const isIt = (e: Expression) => e.kind === "symbol" && e.name === variable && !e.index;
  let bound: End | null = null;
  let rising = true;
  if (isIt(left)) bound = endOf(right, budget);
  else if (isIt(right)) {
    bound = endOf(left, budget);
    rising = false;
  }
  if (bound === null) {
    const linear = linearRoot({ kind: "sum", terms: [left, { kind: "negative", arg: right }] }, variable, budget);
    if (!linear) return null;
    bound = linear.root;
    rising = linear.rising;
  }
  const edge = bound;
  const above = (closed: boolean): RealSet => [{ from: edge, to: HIGH, closedFrom: closed, closedTo: false }];
  const below = (closed: boolean): RealSet => [{ from: LOW, to: edge, closedFrom: false, closedTo: closed }];
  if (!finite(edge)) return /[<>]/.test(op) ? ALL : null;
  if (op === "=") return [{ from: edge, to: edge, closedFrom: true, closedTo: true }];
  if (op === "≠") return [...below(false), ...above(false)];
  const closed = op === "≤" || op === "≥";
  return (op === ">" || op === "≥") === rising ? above(closed) : below(closed);
}

/** The zero of a difference that is linear in its variable; null if it is not linear. */
function linearRoot(difference: Expression, variable: string, budget: Budget): { root: End; rising: boolean } | null {
  const at = (x: number) =>
    evaluate(difference, { values: new Map([[variable, { re: x, im: 0 }]]), seed: 0, real: true }, budget).value.re;
  const [low, middle, high] = [at(-1.7), at(0.9), at(3.5)];
  const slope = (high - low) / 5.2;
  const curved = Math.abs(low + high - 2 * middle) > 1e-9 * (Math.abs(low) + Math.abs(high) + 1);
  if (!(Math.abs(slope) > 1e-9) || curved) return null;
  // from f(0) and f(1), symbolically: −f(0) / (f(1) − f(0))
  const [start, next] = [0n, 1n].map((x) => placed(difference, variable, x));
  const fallen: Expression = { kind: "negative", arg: start };
  const e: Expression = { kind: "quotient", dividend: fallen, divisor: { kind: "sum", terms: [next, fallen] } };
  const root = endOf(e, budget);
  return root && { root, rising: slope > 0 };
}

/** An expression with a number in place of a symbol. */
function placed(e: Expression, name: string, value: bigint): Expression {
  if (e.kind === "symbol" && e.name === name) {
    return { kind: "number", value: { num: value, den: 1n }, decimals: null, base: null };
  }
  return mapChildren(e, (child) => placed(child, name, value));
}

/** Sorts pieces, drops empty ones, and joins those that touch. */
function tidy(pieces: readonly Piece[]): RealSet {
  const full = pieces.filter((p) => {
    const width = ordered(p.to, p.from);
    return width === 0 ? p.closedFrom && p.closedTo : width > 0;
  });
  const sorted = [...full].sort((a, b) => ordered(a.from, b.from) || Number(b.closedFrom) - Number(a.closedFrom));
  const joined: Piece[] = [];
  for (const piece of sorted) {
    const last = joined.at(-1);
    const gap = last ? ordered(piece.from, last.to) : 1;
    const touches = last && (gap < 0 || (gap === 0 && (piece.closedFrom || last.closedTo)));
    if (!touches) {
      joined.push({ ...piece });
      continue;
    }
    const further = ordered(piece.to, last.to);
    if (further === 0) last.closedTo ||= piece.closedTo;
    else if (further > 0) [last.to, last.closedTo] = [piece.to, piece.closedTo];
  }
  return joined;
}

function intersect(a: RealSet, b: RealSet): RealSet {
  const pieces: Piece[] = [];
  for (const p of a) {
    for (const q of b) {
      const from = larger(p.from, q.from);
      const to = smaller(p.to, q.to);
      pieces.push({
        from,
        to,
        closedFrom: (ordered(p.from, from) < 0 || p.closedFrom) && (ordered(q.from, from) < 0 || q.closedFrom),
        closedTo: (ordered(p.to, to) > 0 || p.closedTo) && (ordered(q.to, to) > 0 || q.closedTo),
      });
    }
  }
  return tidy(pieces);
}

function complement(set: RealSet): RealSet {
  let rest = ALL;
  for (const { from, to, closedFrom, closedTo } of set) {
    const outside: Piece[] = [
      { from: LOW, to: from, closedFrom: false, closedTo: !closedFrom && finite(from) },
      { from: to, to: HIGH, closedFrom: !closedTo && finite(to), closedTo: false },
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
      const ends = ordered(p.from, q.from) === 0 && ordered(p.to, q.to) === 0;
      return ends && p.closedFrom === q.closedFrom && p.closedTo === q.closedTo;
    })
  );
}
