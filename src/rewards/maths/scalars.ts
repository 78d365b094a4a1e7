import { type Complex, complex, divide, isDefined, modulus, scale, subtract } from "./complex.ts";
import { decide, decideAt, inRatio, NOWHERE, stepsOff } from "./decide.ts";
import { type Budget, type Evaluated, evaluate, hash, isAboutWholes, type Point } from "./evaluate.ts";
import { exactValue } from "./exact.ts";
import { type Expression, keyOf, someInside, symbolsOf } from "./expression.ts";
import { equals, toNumber } from "./rational.ts";

/** Budget and tolerances of a comparison. */
export interface Comparison {
  budget: Budget;
  /** a decimal with at least this many digits after the point matches the number that it rounds: 0.333333 for 1/3 */
  precision: number;
  /** allowed relative difference from the expected number; null: none */
  tolerance: number | null;
}

/** relative error of doubles: larger differences mean different numbers, smaller ones are checked in more digits */
const ROUGH = 1e-6;
/** the same if only doubles can decide */
const FINE = 1e-12;
/** rounding error of a sum, relative to its largest term */
const CANCELLED = 1e-12;

/** Whether two expressions without relations or lists are equal: as fractions, else at random points. */
export function equalScalars(gold: Expression, pred: Expression, comparison: Comparison): boolean {
  // the base of 52_8 may be omitted, because the question states it
  if (gold.kind === "number" && gold.base !== null && pred.kind === "number") {
    return gold.base === pred.base || pred.base === null ? equals(gold.value, pred.value) : keyOf(gold) === keyOf(pred);
  }
  const [a, b] = [exactValue(gold), exactValue(pred)];
  if (a && b) return equals(a, b) || rounds(gold, pred, comparison) || isWithin(toNumber(a), toNumber(b), comparison);
  const names = new Set([...symbolsOf(gold), ...symbolsOf(pred)]);
  if (names.size === 0 && !hasOpaque(gold) && !hasOpaque(pred)) return equalNumbers(gold, pred, comparison);
  const compared = compareAtPoints(gold, pred, names, comparison.budget, (x, y, point) => {
    if (!close(x, y, ROUGH)) return "other";
    const verdict = decideAt(gold, pred, point, comparison.budget);
    if (verdict === "unsure") return close(x, y, FINE) ? "same" : "other";
    return verdict === "same" ? "same" : verdict === "undefined" ? "nothing" : "other";
  });
  return compared === null ? keyOf(gold) === keyOf(pred) : compared;
}

function equalNumbers(gold: Expression, pred: Expression, comparison: Comparison): boolean {
  const verdict = decide(gold, pred, comparison.budget);
  if (verdict === "same") return true;
  if (verdict === "undefined" || verdict === "halfway") return keyOf(gold) === keyOf(pred);
  if (rounds(gold, pred, comparison)) return true;
  const [x, y] = [evaluate(gold, NOWHERE, comparison.budget), evaluate(pred, NOWHERE, comparison.budget)];
  if (!isDefined(x.value) || !isDefined(y.value)) return keyOf(gold) === keyOf(pred);
  // doubles that underflow to 0 decide nothing
  if (verdict === "unsure" && modulus(x.value) > 1e-290 && close(x, y, FINE)) return true;
  return x.value.im === 0 && y.value.im === 0 && isWithin(x.value.re, y.value.re, comparison);
}

function isWithin(gold: number, pred: number, { tolerance }: Comparison): boolean {
  return tolerance !== null && Math.abs(gold - pred) <= tolerance * Math.abs(gold);
}

function close(a: Evaluated, b: Evaluated, share: number): boolean {
  const largest = Math.max(modulus(a.value), modulus(b.value));
  return modulus(subtract(a.value, b.value)) <= share * largest + CANCELLED * Math.max(a.size, b.size);
}

/** Digits after the point of a decimal, with or without a power of ten; null for other expressions. */
function decimalsOf(e: Expression): { decimals: number; significant: number } | null {
  if (e.kind === "negative") return decimalsOf(e.arg);
  if (e.kind === "quantity") return decimalsOf(e.value);
  if (e.kind === "number") {
    if (e.decimals === null || e.base !== null) return null;
    const shifted = e.value.num * 10n ** BigInt(Math.min(400, e.decimals));
    const digits = (shifted / e.value.den).toString().replace("-", "");
    return { decimals: e.decimals, significant: digits === "0" ? 0 : digits.length };
  }
  if (e.kind !== "product" || e.factors.length !== 2) return null;
  const [factor, ten] = e.factors;
  const own = decimalsOf(factor);
  const isTen = ten.kind === "power" && ten.base.kind === "number" && toNumber(ten.base.value) === 10;
  const shift = own && isTen ? exactValue(ten.exponent) : null;
  return own && shift ? { ...own, decimals: own.decimals - toNumber(shift) } : null;
}

/**
 * Whether one of two numbers is a decimal that rounds or truncates the other with enough digits. Of two decimals, the
 * one with fewer digits counts as the rounded one; a number without a point rounds nothing.
 */
function rounds(gold: Expression, pred: Expression, { precision, budget }: Comparison): boolean {
  const [a, b] = [decimalsOf(gold), decimalsOf(pred)];
  const coarse = a && (!b || a.decimals < b.decimals) ? gold : b && (!a || b.decimals < a.decimals) ? pred : null;
  if (!coarse) return false;
  const { decimals, significant } = decimalsOf(coarse)!;
  if (decimals < precision || significant < Math.min(4, precision) || !Number.isInteger(decimals)) return false;
  const own = exactValue(coarse)!;
  const off = stepsOff(coarse === gold ? pred : gold, coarse, decimals, budget);
  // to the nearest, or truncated towards 0
  return off === 0 || (off === 1 && own.num > 0n) || (off === -1 && own.num < 0n);
}

/** Whether there is an unknown function or an indexed symbol. */
function hasOpaque(e: Expression): boolean {
  return someInside(e, ({ kind }) => kind === "series" || kind === "symbol");
}

const POSITIVE_POINTS = 6;
const SIGNED_POINTS = 4;

/**
 * Compares two expressions at random points: first at positive values, where roots and logarithms are real and every
 * difference counts; then at values of both signs, where points count if both values are real.
 *
 * @returns null if they could not be compared: too few points with values
 */
function compareAtPoints(
  a: Expression,
  b: Expression,
  names: ReadonlySet<string>,
  budget: Budget,
  judge: (x: Evaluated, y: Evaluated, point: Point) => "same" | "other" | "nothing",
): boolean | null {
  const wholes = isAboutWholes(a) || isAboutWholes(b);
  let seen = 0;
  for (let seed = 1; seed <= POSITIVE_POINTS + SIGNED_POINTS; seed++) {
    const real = seed > POSITIVE_POINTS;
    const point: Point = { values: valuesAt(names, seed, real, wholes), seed, real };
    const [x, y] = [evaluate(a, point, budget), evaluate(b, point, budget)];
    if (budget.left <= 0) return null;
    const defined = [isDefined(x.value), isDefined(y.value)];
    if (!defined[0] && !defined[1]) continue;
    if (!defined[0] || !defined[1]) {
      if (real) continue;
      return false;
    }
    const verdict = judge(x, y, point);
    if (verdict === "other") return false;
    if (verdict === "same" && !real) seen++;
  }
  return seen >= 2 ? true : null;
}

function valuesAt(names: ReadonlySet<string>, seed: number, signed: boolean, wholes: boolean): Map<string, Complex> {
  const values = new Map<string, Complex>();
  const taken = new Set<number>();
  for (const name of names) {
    let value = wholes ? 2 + Math.floor(hash(name, seed) * 15) : 0.4 + 2.2 * hash(name, seed);
    while (taken.has(value)) value += 1;
    taken.add(value);
    if (signed && hash(`${name}±`, seed) < 0.6 && !wholes) value = -value;
    values.set(name, complex(value));
  }
  return values;
}

/**
 * Whether two expressions are equal up to a constant factor: 2x + 4y − 3 and y + x/2 − 3/4.
 *
 * @returns the sign of the factor, 0 if it is not real; null if there is none
 */
export function proportional(a: Expression, b: Expression, { budget }: Comparison): number | null {
  const names = new Set([...symbolsOf(a), ...symbolsOf(b)]);
  let factor: Complex | null = null;
  let first: Point | null = null;
  const same = compareAtPoints(a, b, names, budget, (x, y, point) => {
    const zero = (e: Evaluated) => modulus(e.value) <= CANCELLED * Math.max(1e-3, e.size);
    if (zero(x) && zero(y)) return "nothing";
    if (zero(x) || zero(y)) return "other";
    const ratio = divide(x.value, y.value);
    factor ??= ratio;
    if (!first) {
      first = point;
      return "same";
    }
    const rough = modulus(subtract(ratio, factor)) <= ROUGH * modulus(factor);
    return rough && inRatio(a, b, point, first, budget) ? "same" : "other";
  });
  if (!same || factor === null) return null;
  const { re, im } = scale(factor, 1 / modulus(factor));
  return Math.abs(im) < 1e-6 ? Math.sign(re) : 0;
}

/** A closed expression's real value, including infinity; null if it has none. */
export function realValue(e: Expression, budget: Budget): number | null {
  if (e.kind === "constant" && e.name === "infinity") return Number.POSITIVE_INFINITY;
  if (e.kind === "negative") {
    const value = realValue(e.arg, budget);
    return value === null ? null : -value;
  }
  if (e.kind === "sum" && e.terms.length === 1) return realValue(e.terms[0], budget);
  if (symbolsOf(e).size > 0) return null;
  const exact = exactValue(e);
  if (exact) return toNumber(exact);
  const { value } = evaluate(e, { values: new Map(), seed: 0, real: false }, budget);
  return Number.isFinite(value.re) && value.im === 0 ? value.re : null;
}
