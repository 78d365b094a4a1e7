import { type Interval, Reals, Undefined, Unsure } from "./interval.ts";

/** Bounds of a complex number. */
export interface Box {
  readonly re: Interval;
  readonly im: Interval;
}

/** Complex arithmetic with bounds; functions have their principal values, as in `complex.ts`. */
export class Boxes {
  readonly reals: Reals;
  readonly zero: Box;
  readonly one: Box;
  readonly i: Box;

  constructor(bits: number) {
    this.reals = new Reals(bits);
    const { zero, one } = this.reals;
    this.zero = { re: zero, im: zero };
    this.one = { re: one, im: zero };
    this.i = { re: zero, im: one };
  }

  real(re: Interval): Box {
    return { re, im: this.reals.zero };
  }

  fraction(num: bigint, den = 1n): Box {
    return this.real(this.reals.fraction(num, den));
  }

  isReal({ im }: Box): boolean {
    return im.lo === 0n && im.hi === 0n;
  }

  isZero({ re, im }: Box): boolean {
    return re.lo === 0n && re.hi === 0n && im.lo === 0n && im.hi === 0n;
  }

  /** Whether a real number is below 0. */
  isNegative({ re }: Box): boolean {
    if (re.hi < 0n) return true;
    if (re.lo >= 0n) return false;
    throw new Unsure();
  }

  /** The integer in a box; null if there is none, or several. */
  whole(a: Box): bigint | null {
    return this.isReal(a) ? this.reals.whole(a.re) : null;
  }

  add(a: Box, b: Box): Box {
    return { re: this.reals.add(a.re, b.re), im: this.reals.add(a.im, b.im) };
  }

  subtract(a: Box, b: Box): Box {
    return { re: this.reals.subtract(a.re, b.re), im: this.reals.subtract(a.im, b.im) };
  }

  negate(a: Box): Box {
    return { re: this.reals.negate(a.re), im: this.reals.negate(a.im) };
  }

  multiply(a: Box, b: Box): Box {
    const { reals } = this;
    if (this.isReal(a) && this.isReal(b)) return this.real(reals.multiply(a.re, b.re));
    const re = reals.subtract(reals.multiply(a.re, b.re), reals.multiply(a.im, b.im));
    return { re, im: reals.add(reals.multiply(a.re, b.im), reals.multiply(a.im, b.re)) };
  }

  divide(a: Box, b: Box): Box {
    const { reals } = this;
    if (this.isReal(b)) return { re: reals.divide(a.re, b.re), im: this.isReal(a) ? a.im : reals.divide(a.im, b.re) };
    const { re, im } = this.multiply(a, { re: b.re, im: reals.negate(b.im) });
    const norm = reals.add(reals.multiply(b.re, b.re), reals.multiply(b.im, b.im));
    return { re: reals.divide(re, norm), im: reals.divide(im, norm) };
  }

  modulus(a: Box): Interval {
    const { reals } = this;
    if (this.isReal(a)) return reals.abs(a.re);
    const [x, y] = [reals.abs(a.re), reals.abs(a.im)];
    return reals.sqrt(reals.add(reals.multiply(x, x), reals.multiply(y, y)));
  }

  exp(a: Box): Box {
    const { reals } = this;
    const size = reals.exp(a.re);
    if (this.isReal(a)) return this.real(size);
    const [s, c] = reals.sinCos(a.im);
    return { re: reals.multiply(size, c), im: reals.multiply(size, s) };
  }

  log(a: Box): Box {
    const { reals } = this;
    if (this.isZero(a)) throw new Undefined();
    if (this.isReal(a) && !this.isNegative(a)) return this.real(reals.ln(a.re));
    return { re: reals.ln(this.modulus(a)), im: this.argument(a) };
  }

  private argument({ re, im }: Box): Interval {
    const { reals } = this;
    if (im.lo > 0n || im.hi < 0n) {
      const half = reals.divide(reals.pi(), reals.fraction(im.lo > 0n ? 2n : -2n, 1n));
      return reals.subtract(half, reals.atan(reals.divide(re, im)));
    }
    if (re.lo > 0n) return reals.atan(reals.divide(im, re));
    if (re.hi < 0n && im.lo === 0n && im.hi === 0n) return reals.pi();
    throw new Unsure();
  }

  sqrt(a: Box): Box {
    const { reals } = this;
    if (this.isReal(a)) {
      if (!this.isNegative(a)) return this.real(reals.sqrt(a.re));
      return { re: reals.zero, im: reals.sqrt(reals.negate(a.re)) };
    }
    const size = this.modulus(a);
    const two = reals.fraction(2n, 1n);
    const re = reals.sqrt(reals.divide(reals.add(size, a.re), two));
    const im = reals.sqrt(reals.divide(reals.subtract(size, a.re), two));
    if (a.im.lo >= 0n) return { re, im };
    if (a.im.hi > 0n) throw new Unsure();
    return { re, im: reals.negate(im) };
  }

  /** base^n for an integer n. */
  wholePower(base: Box, n: bigint): Box {
    if (n > 200_000n || n < -200_000n) throw new Unsure();
    let result = this.one;
    let factor = base;
    for (let left = n < 0n ? -n : n; left > 0n; left >>= 1n) {
      if (left & 1n) result = this.multiply(result, factor);
      if (left > 1n) factor = this.multiply(factor, factor);
    }
    return n < 0n ? this.divide(this.one, result) : result;
  }

  power(base: Box, exponent: Box): Box {
    const whole = this.whole(exponent);
    if (whole !== null && !(this.isZero(base) && whole <= 0n)) return this.wholePower(base, whole);
    if (this.isZero(base)) {
      if (exponent.re.lo > 0n) return this.zero;
      if (whole === 0n) return this.one;
      throw new Undefined();
    }
    return this.exp(this.multiply(exponent, this.log(base)));
  }

  sinCos(a: Box): [Box, Box] {
    const { reals } = this;
    const [s, c] = reals.sinCos(a.re);
    if (this.isReal(a)) return [this.real(s), this.real(c)];
    const [up, down] = [reals.exp(a.im), reals.exp(reals.negate(a.im))];
    const two = reals.fraction(2n, 1n);
    const cosh = reals.divide(reals.add(up, down), two);
    const sinh = reals.divide(reals.subtract(up, down), two);
    return [
      { re: reals.multiply(s, cosh), im: reals.multiply(c, sinh) },
      { re: reals.multiply(c, cosh), im: reals.negate(reals.multiply(s, sinh)) },
    ];
  }

  /** [sinh, cosh] */
  hyperbolic(a: Box): [Box, Box] {
    const [up, down] = [this.exp(a), this.exp(this.negate(a))];
    const two = this.fraction(2n);
    return [this.divide(this.subtract(up, down), two), this.divide(this.add(up, down), two)];
  }

  asin(a: Box): Box {
    const rest = this.subtract(this.one, this.multiply(a, a));
    if (this.isReal(a) && rest.re.lo > 0n) {
      return this.real(this.reals.atan(this.reals.divide(a.re, this.reals.sqrt(rest.re))));
    }
    const { re } = a;
    const edge = this.isReal(a) ? this.reals.whole(re) : null;
    if (edge === 1n || edge === -1n) return this.divide(this.real(this.reals.pi()), this.fraction(2n * edge));
    const inner = this.add(this.multiply(this.i, a), this.sqrt(rest));
    return this.multiply(this.negate(this.i), this.log(inner));
  }

  atan(a: Box): Box {
    if (this.isReal(a)) return this.real(this.reals.atan(a.re));
    const ratio = this.divide(this.add(this.i, a), this.subtract(this.i, a));
    return this.divide(this.multiply(this.i, this.log(ratio)), this.fraction(2n));
  }
}
