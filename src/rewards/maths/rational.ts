// Exact fractions. Every operation returns null if the result would exceed the limit: only this keeps an answer such as
// 9^{9^9} from using all memory.

import { bitsOf, wholeSqrt } from "./interval.ts";

/** Most bits of a numerator or denominator: 2024! has 19,000 and 2^{100000} a few more. */
const MAX_BITS = 1 << 17;
const LIMIT = 1n << BigInt(MAX_BITS);
/** Most bits for computing a common divisor: its time grows with their square. */
const REDUCED = 1n << 4096n;

/** Most bits for computing roots. */
const MAX_ROOT_BITS = 16_384;

/** A fraction with a positive denominator, in lowest terms unless both are huge. */
export interface Rational {
  readonly num: bigint;
  readonly den: bigint;
}

/** num / den; null if den is 0 or the fraction is too large. */
export function rational(num: bigint, den = 1n): Rational | null {
  if (den === 0n) return null;
  if (den < 0n) {
    num = -num;
    den = -den;
  }
  if (den !== 1n) {
    const size = num < 0n ? -num : num;
    if (size < REDUCED || den < REDUCED) {
      const divisor = gcd(num, den);
      num /= divisor;
      den /= divisor;
    } else if (num % den === 0n) {
      num /= den;
      den = 1n;
    } else if (den % size === 0n) {
      den /= size;
      num /= size;
    }
  }
  return num < LIMIT && -num < LIMIT && den < LIMIT ? { num, den } : null;
}

export const ZERO: Rational = { num: 0n, den: 1n };
export const ONE: Rational = { num: 1n, den: 1n };

/** The value of decimal digits with an exponent of ten, such as 12, 5 and −3 for 12.5e-3. */
export function fromDecimal(whole: string, fraction: string, exponent = 0): Rational | null {
  if (whole.length + fraction.length > 400 || Math.abs(exponent) > 2000) return null;
  const digits = BigInt(`${whole}${fraction}` || "0");
  const shift = exponent - fraction.length;
  return shift >= 0 ? rational(digits * 10n ** BigInt(shift)) : rational(digits, 10n ** BigInt(-shift));
}

export function add(a: Rational, b: Rational): Rational | null {
  return rational(a.num * b.den + b.num * a.den, a.den * b.den);
}

export function subtract(a: Rational, b: Rational): Rational | null {
  return rational(a.num * b.den - b.num * a.den, a.den * b.den);
}

export function multiply(a: Rational, b: Rational): Rational | null {
  return rational(a.num * b.num, a.den * b.den);
}

export function divide(a: Rational, b: Rational): Rational | null {
  return rational(a.num * b.den, a.den * b.num);
}

export function compare(a: Rational, b: Rational): number {
  const difference = a.num * b.den - b.num * a.den;
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

export function equals(a: Rational, b: Rational): boolean {
  return a.num * b.den === b.num * a.den;
}

export function isInteger(a: Rational): boolean {
  return a.den === 1n;
}

/** The nearest double; infinite if out of range. */
export function toNumber({ num, den }: Rational): number {
  const direct = Number(num) / Number(den);
  if (Number.isFinite(direct) && (direct !== 0 || num === 0n)) return direct;
  // beyond the range of doubles: 64 digits of the quotient, and the position of its point
  const shift = 64 - (bits(num) - bits(den));
  const digits = shift >= 0 ? (num << BigInt(shift)) / den : num / (den << BigInt(-shift));
  const value = Number(digits) * 2 ** Math.max(-1000, Math.min(1000, -shift));
  return Math.abs(shift) <= 1000 ? value : value * 2 ** (-shift - Math.max(-1000, Math.min(1000, -shift)));
}

/** base^exponent for an integer exponent, or if the root is a fraction again: 4^{3/2}; else null. */
export function power(base: Rational, exponent: Rational): Rational | null {
  if (exponent.den !== 1n) {
    if (exponent.den > 64n) return null;
    const root = rootOf(base, Number(exponent.den));
    return root && power(root, { num: exponent.num, den: 1n });
  }
  const size = exponent.num < 0n ? -exponent.num : exponent.num;
  if (base.num === 0n) return exponent.num > 0n ? ZERO : exponent.num === 0n ? ONE : null;
  if (size > BigInt(MAX_BITS) && !(isInteger(base) && (base.num === 1n || base.num === -1n))) return null;
  if (isInteger(base) && (base.num === 1n || base.num === -1n)) {
    return base.num === 1n || size % 2n === 0n ? ONE : base;
  }
  if ((Math.max(bits(base.num), bits(base.den)) - 1) * Number(size) > MAX_BITS) return null;
  const num = base.num ** size;
  const den = base.den ** size;
  return exponent.num < 0n ? rational(den, num) : rational(num, den);
}

/** The real n-th root if it is a fraction, else null. */
export function rootOf(value: Rational, n: number): Rational | null {
  if (value.num < 0n) {
    if (n % 2 === 0) return null;
    const root = rootOf({ num: -value.num, den: value.den }, n);
    return root && { num: -root.num, den: root.den };
  }
  const num = wholeRoot(value.num, n);
  const den = wholeRoot(value.den, n);
  return num === null || den === null ? null : rational(num, den);
}

/** n!, null above 5000. */
export function factorial(n: Rational): Rational | null {
  if (!isInteger(n) || n.num < 0n || n.num > 5000n) return null;
  return rational(productOf(1n, n.num));
}

/** The product of all integers in a range, inclusive: computed by halves, so that factors have similar sizes. */
function productOf(from: bigint, to: bigint): bigint {
  if (to - from > 8n) {
    const middle = (from + to) / 2n;
    return productOf(from, middle) * productOf(middle + 1n, to);
  }
  let product = 1n;
  for (let k = from; k <= to; k++) product *= k;
  return product;
}

export function floor({ num, den }: Rational): Rational {
  const quotient = num / den;
  return { num: num < 0n && quotient * den !== num ? quotient - 1n : quotient, den: 1n };
}

export function gcd(a: bigint, b: bigint): bigint {
  if (a < 0n) a = -a;
  if (b < 0n) b = -b;
  while (b !== 0n) [a, b] = [b, a % b];
  return a;
}

const bits = bitsOf;

/** The integer n-th root of an exact n-th power, by bisection; else null. */
function wholeRoot(value: bigint, n: number): bigint | null {
  if (value < 2n) return value;
  if (n < 1 || n > 64 || bits(value) > MAX_ROOT_BITS) return null;
  if (n === 2) {
    const root = wholeSqrt(value);
    return root * root === value ? root : null;
  }
  let low = 1n;
  let high = 1n << BigInt(Math.ceil(bits(value) / n) + 1);
  const degree = BigInt(n);
  while (low <= high) {
    const middle = (low + high) >> 1n;
    const found = middle ** degree;
    if (found === value) return middle;
    if (found < value) low = middle + 1n;
    else high = middle - 1n;
  }
  return null;
}
