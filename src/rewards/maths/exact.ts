import type { Expression } from "./expression.ts";
import {
  add,
  compare,
  divide,
  factorial,
  floor,
  gcd,
  isInteger,
  multiply,
  ONE,
  power,
  type Rational,
  rational,
  rootOf,
  toNumber,
  ZERO,
} from "./rational.ts";

const known = new WeakMap<Expression, Rational | null>();

/** The value of an expression if it is a fraction: no symbols, no irrational roots. Else null. */
export function exactValue(e: Expression): Rational | null {
  const before = known.get(e);
  if (before !== undefined) return before;
  const value = fractionOf(e);
  known.set(e, value);
  return value;
}

function fractionOf(e: Expression): Rational | null {
  switch (e.kind) {
    case "number":
      return e.base === null ? e.value : null;
    case "negative": {
      const value = exactValue(e.arg);
      return value && { num: -value.num, den: value.den };
    }
    case "sum":
      return fold(e.terms, ZERO, add);
    case "product":
      return fold(e.factors, ONE, multiply);
    case "quotient": {
      const [a, b] = [exactValue(e.dividend), exactValue(e.divisor)];
      return a && b && divide(a, b);
    }
    case "ratio": {
      if (e.parts.length !== 2) return null;
      const [a, b] = e.parts.map(exactValue);
      return a && b && divide(a, b);
    }
    case "power": {
      const [base, exponent] = [exactValue(e.base), exactValue(e.exponent)];
      return base && exponent && power(base, exponent);
    }
    case "quantity": {
      const value = exactValue(e.value);
      if (e.unit === "percent") return value && rational(value.num, value.den * 100n);
      return /^(?:deg|arcmin|arcsec)$/.test(e.unit) ? null : value;
    }
    case "call":
      return exactCall(e.name, e.args);
    default:
      return null;
  }
}

function fold(
  parts: readonly Expression[],
  start: Rational,
  join: (a: Rational, b: Rational) => Rational | null,
): Rational | null {
  let total: Rational | null = start;
  for (const part of parts) {
    const value = exactValue(part);
    total = value && total && join(total, value);
    if (!total) return null;
  }
  return total;
}

function exactCall(name: string, args: readonly Expression[]): Rational | null {
  const values: Rational[] = [];
  for (const arg of args) {
    const value = exactValue(arg);
    if (!value) return null;
    values.push(value);
  }
  const [a, b] = values;
  switch (name) {
    case "sqrt":
      return rootOf(a, 2);
    case "cbrt":
      return rootOf(a, 3);
    case "root":
      return isInteger(a) && compare(a, ONE) > 0 && b ? rootOf(b, toNumber(a)) : null;
    case "abs":
      return a.num < 0n ? { num: -a.num, den: a.den } : a;
    case "floor":
      return floor(a);
    case "ceil": {
      const below = floor({ num: -a.num, den: a.den });
      return { num: -below.num, den: 1n };
    }
    case "factorial":
      return factorial(a);
    case "binom":
      return b && binomial(a, b);
    case "gcd":
    case "lcm": {
      if (!values.every(isInteger)) return null;
      const join = name === "gcd" ? gcd : (x: bigint, y: bigint) => (x === 0n || y === 0n ? 0n : (x / gcd(x, y)) * y);
      return rational(values.map(({ num }) => num).reduce(join));
    }
    case "min":
    case "max": {
      const sign = name === "min" ? 1 : -1;
      return values.reduce((best, value) => (sign * compare(value, best) < 0 ? value : best));
    }
    default:
      return null;
  }
}

/** n over k; null if too large. */
export function binomial(n: Rational, k: Rational): Rational | null {
  if (!isInteger(n) || !isInteger(k) || n.num < 0n || k.num < 0n) return null;
  if (k.num > n.num) return ZERO;
  let steps = k.num;
  if (n.num - k.num < steps) steps = n.num - k.num;
  if (steps > 5000n || Number(steps) * n.num.toString(2).length > 33_000) return null; // a millisecond
  let value = 1n;
  for (let i = 1n; i <= steps; i++) value = (value * (n.num - steps + i)) / i;
  return rational(value);
}
