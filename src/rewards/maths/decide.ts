import { type Box, Boxes } from "./boxes.ts";
import { enclose } from "./enclose.ts";
import type { Budget, Point } from "./evaluate.ts";
import { exactValue } from "./exact.ts";
import { childrenOf, type Expression } from "./expression.ts";
import { type Interval, most, Undefined, Unsure } from "./interval.ts";
import { compare, ONE } from "./rational.ts";

/**
 * The result of comparing digits: `other`: certainly different; `same`: equal in all computed digits; `undefined`:
 * neither has a value; `halfway`: one has no value; `unsure`: undecidable.
 */
type Verdict = "same" | "other" | "undefined" | "halfway" | "unsure";

/** The evaluation point of numbers without symbols. */
export const NOWHERE: Point = { values: new Map(), seed: 0, real: false };

/** Precisions in bits, tried in order until two values differ. */
const DIGITS = [128, 640, 2720, 12_000] as const;
/** 800 decimal digits: two values that share these count as equal; values close to 0 get more. */
const ENOUGH = 2720;
/** At a random point, different expressions differ in the first digits. */
const POINT_DIGITS = [128, 512] as const;

/** Compares the values of two numbers, without symbols, in as many digits as necessary. */
export function decide(a: Expression, b: Expression, budget: Budget): Verdict {
  const [x, y] = [exactValue(a), exactValue(b)];
  if (x && y) return compare(x, y) === 0 ? "same" : "other";
  const verdict = decideIn(DIGITS, a, b, NOWHERE, budget);
  if (verdict !== "unsure") return verdict;
  if ((x?.num === 0n && cannotVanish(b)) || (y?.num === 0n && cannotVanish(a))) return "other";
  // too large or too small for digits: compare logarithms
  const [p, q] = [logarithm(a), logarithm(b)];
  if (!p || !q) return "unsure";
  return p.sign !== q.sign ? "other" : decideIn(DIGITS, p.ln, q.ln, NOWHERE, budget);
}

/** Compares two expressions' values at a point. */
export function decideAt(a: Expression, b: Expression, point: Point, budget: Budget): Verdict {
  return decideIn(POINT_DIGITS, a, b, point, budget);
}

function decideIn(digits: readonly number[], a: Expression, b: Expression, point: Point, budget: Budget): Verdict {
  let verdict: Verdict = "unsure";
  for (const bits of digits) {
    const [x, y] = [a, b].map((e) => enclosed(e, point, bits, budget));
    if (x === "unsure" || y === "unsure") continue;
    if (x === "undefined" || y === "undefined") return x === y ? "undefined" : "halfway";
    if (apart(x.re, y.re) || apart(x.im, y.im)) return "other";
    const c = new Boxes(bits);
    if (resolved(x) && resolved(y)) {
      verdict = "same";
      if (bits >= ENOUGH) return verdict;
    } else if (narrow(x, bits) && narrow(y, bits)) {
      // both are close to 0: separate values that cannot be 0 from 0
      const [p, q] = [cannotVanish(a), cannotVanish(b)];
      if (p !== q && (c.isZero(x) || c.isZero(y))) return "other";
      verdict = p || q ? "unsure" : "same";
    }
  }
  return verdict;
}

function enclosed(e: Expression, point: Point, bits: number, budget: Budget): Box | "undefined" | "unsure" {
  try {
    return enclose(e, point, bits, budget);
  } catch (error) {
    if (error instanceof Undefined) return "undefined";
    if (error instanceof Unsure) return "unsure";
    throw error;
  }
}

const apart = (a: Interval, b: Interval) => a.hi < b.lo || b.hi < a.lo;
const width = ({ lo, hi }: Interval) => hi - lo;
const nearest = ({ lo, hi }: Interval) => (lo > 0n ? lo : hi < 0n ? -hi : 0n);

/** Whether bounds are so close that many digits are known, even of a small number. */
function resolved({ re, im }: Box): boolean {
  const size = most([nearest(re), nearest(im)]);
  const wide = most([width(re), width(im)]);
  return wide === 0n || wide << 64n <= size;
}

const narrow = ({ re, im }: Box, bits: number) => (width(re) | width(im)) >> BigInt(bits >> 1) === 0n;

/** Whether an expression is clearly not 0: powers, exponentials, products of these, sums of positive terms. */
function cannotVanish(e: Expression): boolean {
  const exact = exactValue(e);
  if (exact) return exact.num !== 0n;
  switch (e.kind) {
    case "constant":
      return true;
    case "negative":
    case "product":
    case "quotient":
      return childrenOf(e).every(cannotVanish);
    case "power":
      return cannotVanish(e.base);
    case "call":
      return e.name === "exp" || (e.name === "sqrt" && cannotVanish(e.args[0]));
    case "sum":
      return isPositive(e) || e.terms.every((term) => term.kind === "negative" && isPositive(term.arg));
    default:
      return false;
  }
}

/** Whether an expression without symbols is clearly above 0. */
function isPositive(e: Expression): boolean {
  const exact = exactValue(e);
  if (exact) return exact.num > 0n;
  switch (e.kind) {
    case "constant":
      return e.name === "pi" || e.name === "e";
    case "sum":
    case "product":
    case "quotient":
      return childrenOf(e).every(isPositive);
    case "power":
      return isPositive(e.base) && (exactValue(e.exponent) !== null || isPositive(e.exponent));
    case "call":
      return e.name === "sqrt" && isPositive(e.args[0]);
    default:
      return false;
  }
}

const product = (...factors: Expression[]): Expression => ({ kind: "product", factors });
const negative = (arg: Expression): Expression => ({ kind: "negative", arg });

/** The logarithm of a real number's magnitude, from its factors, and its sign; null if unclear. */
function logarithm(e: Expression): { sign: number; ln: Expression } | null {
  const exact = exactValue(e);
  if (exact) {
    if (exact.num === 0n) return null;
    return {
      sign: exact.num < 0n ? -1 : 1,
      ln: { kind: "call", name: "ln", args: [{ kind: "call", name: "abs", args: [e] }] },
    };
  }
  switch (e.kind) {
    case "constant":
      return e.name === "pi" || e.name === "e" ? { sign: 1, ln: { kind: "call", name: "ln", args: [e] } } : null;
    case "negative": {
      const inner = logarithm(e.arg);
      return inner && { sign: -inner.sign, ln: inner.ln };
    }
    case "product": {
      const parts = e.factors.map(logarithm);
      if (parts.includes(null)) return null;
      const known = parts as { sign: number; ln: Expression }[];
      return {
        sign: known.reduce((sign, part) => sign * part.sign, 1),
        ln: { kind: "sum", terms: known.map(({ ln }) => ln) },
      };
    }
    case "quotient": {
      const [above, below] = [logarithm(e.dividend), logarithm(e.divisor)];
      return (
        above && below && { sign: above.sign * below.sign, ln: { kind: "sum", terms: [above.ln, negative(below.ln)] } }
      );
    }
    case "power": {
      const base = logarithm(e.base);
      const exponent = exactValue(e.exponent);
      if (!base) return null;
      if (base.sign < 0 && !(exponent && exponent.den === 1n)) return null;
      const sign = base.sign < 0 && exponent!.num % 2n !== 0n ? -1 : 1;
      return { sign, ln: product(e.exponent, base.ln) };
    }
    case "call":
      return e.name === "exp" ? { sign: 1, ln: e.args[0] } : null;
    default:
      return null;
  }
}

/** Which of two real numbers is larger: −1, 0, 1; null if undecidable. */
export function order(a: Expression, b: Expression, budget: Budget): number | null {
  const [x, y] = [exactValue(a), exactValue(b)];
  if (x && y) return compare(x, y);
  for (const bits of DIGITS) {
    const [p, q] = [a, b].map((e) => enclosed(e, NOWHERE, bits, budget));
    if (p === "undefined" || q === "undefined") return null;
    if (p === "unsure" || q === "unsure") continue;
    if (p.re.hi < q.re.lo) return -1;
    if (p.re.lo > q.re.hi) return 1;
  }
  return decide(a, b, budget) === "same" ? 0 : null;
}

/** Whether a(p)·b(q) equals b(p)·a(q) in many digits: two expressions then have the same ratio at two points. */
export function inRatio(a: Expression, b: Expression, p: Point, q: Point, budget: Budget): boolean {
  for (const bits of POINT_DIGITS) {
    const values = [
      enclosed(a, p, bits, budget),
      enclosed(b, q, bits, budget),
      enclosed(b, p, bits, budget),
      enclosed(a, q, bits, budget),
    ];
    if (values.some((value) => typeof value === "string")) return values.includes("unsure");
    const [ap, bq, bp, aq] = values as Box[];
    const c = new Boxes(bits);
    const [x, y] = [c.multiply(ap, bq), c.multiply(bp, aq)];
    if (apart(x.re, y.re) || apart(x.im, y.im)) return false;
  }
  return true;
}

/**
 * The distance of a number from a decimal, in units of the decimal's last digit: 0 within a half, ±1 within one, ±2
 * beyond; null if undecidable.
 */
export function stepsOff(value: Expression, decimal: Expression, decimals: number, budget: Budget): number | null {
  const half: Expression = {
    kind: "quotient",
    dividend: { kind: "number", value: ONE, decimals: null, base: null },
    divisor: product(numberOf(2n), { kind: "power", base: numberOf(10n), exponent: numberOf(BigInt(decimals)) }),
  };
  const off: Expression = { kind: "sum", terms: [value, negative(decimal)] };
  const zero = order(off, numberOf(0n), budget);
  if (zero === null) return null;
  const size = zero < 0 ? negative(off) : off;
  const first = order(size, half, budget);
  if (first === null || first <= 0) return first === null ? null : 0;
  const second = order(size, product(numberOf(2n), half), budget);
  return second === null ? null : second < 0 ? zero : 2 * zero;
}

const numberOf = (num: bigint): Expression => ({ kind: "number", value: { num, den: 1n }, decimals: null, base: null });
