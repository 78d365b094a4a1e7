// Real numbers between two bounds, in fixed point, with as many binary digits after the point as a comparison needs.
// Bounds are rounded outwards, so that the number is never outside.

/** Undecided: more digits may help, or are not worth their time. */
export class Unsure extends Error {}

/** An expression has no value. */
export class Undefined extends Error {}

/** Bounds of a real number, times 2^bits. */
export interface Interval {
  readonly lo: bigint;
  readonly hi: bigint;
}

/** Most bits before the point; larger values are not evaluated. */
const MAX_WHOLE_BITS = 12_000;
/** Working digits beyond those of the result. */
const GUARD = 64;

const constants = new Map<string, bigint>();

/** Arithmetic with a number of binary digits behind the point. */
export class Reals {
  readonly bits: number;
  readonly zero: Interval = { lo: 0n, hi: 0n };
  readonly one: Interval;
  private readonly shift: bigint;
  private readonly limit: bigint;

  constructor(bits: number) {
    this.bits = bits;
    this.shift = BigInt(bits);
    this.one = { lo: 1n << this.shift, hi: 1n << this.shift };
    this.limit = 1n << BigInt(bits + MAX_WHOLE_BITS);
  }

  fraction(num: bigint, den: bigint): Interval {
    return this.bounded({ lo: floorDivide(num << this.shift, den), hi: ceilDivide(num << this.shift, den) });
  }

  /** The exact value of a double. */
  double(value: number): Interval {
    if (!Number.isFinite(value)) throw new Undefined();
    let exponent = 0;
    while (!Number.isSafeInteger(value) && exponent < 1100) {
      value *= 2;
      exponent++;
    }
    return this.fraction(BigInt(value), 1n << BigInt(exponent));
  }

  add(a: Interval, b: Interval): Interval {
    return this.bounded({ lo: a.lo + b.lo, hi: a.hi + b.hi });
  }

  subtract(a: Interval, b: Interval): Interval {
    return this.bounded({ lo: a.lo - b.hi, hi: a.hi - b.lo });
  }

  negate({ lo, hi }: Interval): Interval {
    return { lo: -hi, hi: -lo };
  }

  multiply(a: Interval, b: Interval): Interval {
    const products = [a.lo * b.lo, a.lo * b.hi, a.hi * b.lo, a.hi * b.hi];
    return this.bounded({ lo: least(products) >> this.shift, hi: -(-most(products) >> this.shift) });
  }

  divide(a: Interval, b: Interval): Interval {
    if (b.lo === 0n && b.hi === 0n) throw new Undefined();
    if (b.lo <= 0n && b.hi >= 0n) throw new Unsure();
    const pairs = [a.lo, a.hi].flatMap((x) => [b.lo, b.hi].map((y) => [x << this.shift, y] as const));
    const [below, above] = [floorDivide, ceilDivide].map((divide) => pairs.map(([x, y]) => divide(x, y)));
    return this.bounded({ lo: least(below), hi: most(above) });
  }

  /** The square root of a non-negative number. */
  sqrt({ lo, hi }: Interval): Interval {
    if (lo < 0n) throw new Unsure();
    const [below, above] = [lo << this.shift, hi << this.shift];
    const root = wholeSqrt(above);
    return { lo: wholeSqrt(below), hi: root * root === above ? root : root + 1n };
  }

  exp(x: Interval): Interval {
    const { middle, radius } = this.centre(x);
    if (radius << 2n > 1n << this.shift) throw new Unsure();
    const power = Number(middle >> this.shift) / Math.LN2;
    if (power > MAX_WHOLE_BITS) throw new Unsure();
    if (power < -this.bits - 8) return { lo: 0n, hi: 2n };
    const bits = this.bits + GUARD + Math.max(0, Math.ceil(power));
    const { value, exponent } = expOf(middle << BigInt(bits - this.bits), bits);
    const scaled = shifted(value, exponent - (bits - this.bits));
    const slack = ((scaled * radius) >> (this.shift - 1n)) + 2n;
    return this.bounded({ lo: scaled - slack < 0n ? 0n : scaled - slack, hi: scaled + slack });
  }

  /** The logarithm of a positive number. */
  ln(x: Interval): Interval {
    if (x.lo <= 0n) throw new Unsure();
    const { middle, radius } = this.centre(x);
    const bits = this.bits + GUARD;
    const value = lnOf(middle, this.bits, bits) >> BigInt(GUARD);
    return this.around(value, (radius << this.shift) / x.lo + 2n);
  }

  sin(x: Interval): Interval {
    return this.sinCos(x)[0];
  }

  cos(x: Interval): Interval {
    return this.sinCos(x)[1];
  }

  sinCos(x: Interval): [Interval, Interval] {
    const { middle, radius } = this.centre(x);
    const bits = this.bits + GUARD + bitsOf(middle >> this.shift);
    const extra = BigInt(bits - this.bits);
    const [s, c] = sinCosOf(middle << extra, bits);
    const slack = radius + 2n;
    return [this.around(s >> extra, slack), this.around(c >> extra, slack)];
  }

  atan(x: Interval): Interval {
    const { middle, radius } = this.centre(x);
    const bits = this.bits + GUARD;
    return this.around(atanOf(middle << BigInt(GUARD), bits) >> BigInt(GUARD), radius + 2n);
  }

  pi(): Interval {
    return this.around(piTo(this.bits + GUARD) >> BigInt(GUARD), 1n);
  }

  abs(x: Interval): Interval {
    if (x.lo >= 0n) return x;
    return x.hi <= 0n ? this.negate(x) : { lo: 0n, hi: most([-x.lo, x.hi]) };
  }

  /** The only integer between the bounds; null if there is none, or several. */
  whole({ lo, hi }: Interval): bigint | null {
    return lo === hi && lo === (lo >> this.shift) << this.shift ? lo >> this.shift : null;
  }

  floor({ lo, hi }: Interval): bigint {
    const [below, above] = [lo >> this.shift, hi >> this.shift];
    if (below === above) return below;
    // treated as an integer: so many digits agree
    const near = (hi - lo) >> (this.shift / 2n) === 0n && above === below + 1n;
    if (near && this.bits >= FLOOR_BITS) return above;
    throw new Unsure();
  }

  private centre({ lo, hi }: Interval): { middle: bigint; radius: bigint } {
    const middle = (lo + hi) >> 1n;
    return { middle, radius: hi - middle };
  }

  private around(middle: bigint, slack: bigint): Interval {
    return this.bounded({ lo: middle - slack, hi: middle + slack });
  }

  private bounded(x: Interval): Interval {
    if (x.hi > this.limit || x.lo < -this.limit) throw new Unsure();
    return x;
  }
}

/** A number that agrees with an integer in this many digits counts as that integer. */
const FLOOR_BITS = 512;

// Math.min and Math.max do not support bigint
function least(values: readonly bigint[]): bigint {
  let [found] = values;
  for (const value of values) if (value < found) found = value;
  return found;
}

/** The largest of several integers. */
export function most(values: readonly bigint[]): bigint {
  let [found] = values;
  for (const value of values) if (value > found) found = value;
  return found;
}

const shifted = (value: bigint, by: number) => (by >= 0 ? value << BigInt(by) : value >> BigInt(-by));

function floorDivide(a: bigint, b: bigint): bigint {
  const quotient = a / b;
  return a < 0n !== b < 0n && quotient * b !== a ? quotient - 1n : quotient;
}

function ceilDivide(a: bigint, b: bigint): bigint {
  return -floorDivide(-a, b);
}

/** The bit length of a number. */
export function bitsOf(n: bigint): number {
  const hex = (n < 0n ? -n : n).toString(16);
  return hex === "0" ? 0 : hex.length * 4 - Math.clz32(Number.parseInt(hex[0], 16)) + 28;
}

/** The integer square root, rounded down. */
export function wholeSqrt(n: bigint): bigint {
  if (n < 2n) return n;
  let root = 1n << BigInt((bitsOf(n) + 1) >> 1);
  for (;;) {
    const next = (root + n / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

/** exp(x), x times 2^bits, as value·2^exponent with the value times 2^bits. */
function expOf(x: bigint, bits: number): { value: bigint; exponent: number } {
  const shift = BigInt(bits);
  const ln2 = ln2To(bits);
  const exponent = floorDivide(x, ln2);
  const halvings = Math.min(40, Math.ceil(Math.sqrt(bits)));
  const small = (x - exponent * ln2) >> BigInt(halvings);
  let [sum, term] = [1n << shift, 1n << shift];
  for (let k = 1n; term !== 0n; k++) {
    term = ((term * small) >> shift) / k;
    sum += term;
  }
  for (let i = 0; i < halvings; i++) sum = (sum * sum) >> shift;
  return { value: sum, exponent: Number(exponent) };
}

/** ln(x), x times 2^own, as a number times 2^bits. */
function lnOf(x: bigint, own: number, bits: number): bigint {
  const exponent = bitsOf(x) - 1;
  const y = shifted(x, bits - exponent); // in [1, 2)
  let z = BigInt(Math.round(Math.log(Number(y >> BigInt(bits - 52)) / 2 ** 52) * 2 ** 52)) << BigInt(bits - 52);
  for (let right = 45; right < bits; right *= 3) {
    const { value, exponent: e } = expOf(z, bits);
    const found = shifted(value, e);
    z += (2n * (y - found) * (1n << BigInt(bits))) / (y + found);
  }
  return z + BigInt(exponent - own) * ln2To(bits);
}

function sinCosOf(x: bigint, bits: number): [bigint, bigint] {
  const shift = BigInt(bits);
  const quarter = piTo(bits) >> 1n;
  const turns = floorDivide(2n * x + quarter, 2n * quarter);
  const halvings = Math.min(24, Math.ceil(Math.sqrt(bits) / 2));
  const small = (x - turns * quarter) >> BigInt(halvings);
  const square = (small * small) >> shift;
  let [s, c] = [small, 1n << shift];
  let [term, odd] = [small, 1n << shift];
  for (let k = 1n; term !== 0n || odd !== 0n; k++) {
    odd = -((odd * square) >> shift) / ((2n * k - 1n) * (2n * k));
    term = -((term * square) >> shift) / (2n * k * (2n * k + 1n));
    c += odd;
    s += term;
  }
  for (let i = 0; i < halvings; i++) [s, c] = [(2n * s * c) >> shift, (c * c - s * s) >> shift];
  const quadrant = Number(((turns % 4n) + 4n) % 4n);
  if (quadrant === 0) return [s, c];
  if (quadrant === 1) return [c, -s];
  return quadrant === 2 ? [-s, -c] : [-c, s];
}

function atanOf(x: bigint, bits: number): bigint {
  const shift = BigInt(bits);
  const one = 1n << shift;
  if (x < 0n) return -atanOf(-x, bits);
  if (x > one) return (piTo(bits) >> 1n) - atanOf((one << shift) / x, bits);
  const halvings = Math.min(24, Math.ceil(Math.sqrt(bits) / 3));
  let small = x;
  for (let i = 0; i < halvings; i++) small = (small << shift) / (one + wholeSqrt((one << shift) + small * small));
  const square = (small * small) >> shift;
  let [sum, term] = [small, small];
  for (let k = 3n; term !== 0n; k += 2n) {
    term = -((term * square) >> shift);
    sum += term / k;
    if (term === -1n) break; // rounding downwards never reaches 0
  }
  return sum << BigInt(halvings);
}

/** Caches a constant at a multiple of 512 digits; fewer digits are truncated from it. */
function constant(name: string, bits: number, make: (bits: number) => bigint): bigint {
  const full = Math.ceil(bits / 512) * 512;
  const key = `${name}/${full}`;
  const known = constants.get(key) ?? make(full + GUARD) >> BigInt(GUARD);
  if (constants.size > 200) constants.clear();
  constants.set(key, known);
  return known >> BigInt(full - bits);
}

const piTo = (bits: number): bigint =>
  constant("pi", bits, (b) => 16n * inverseAtan(5n, b, -1n) - 4n * inverseAtan(239n, b, -1n));
const ln2To = (bits: number): bigint =>
  constant(
    "ln2",
    bits,
    (b) => 18n * inverseAtan(26n, b, 1n) - 2n * inverseAtan(4801n, b, 1n) + 8n * inverseAtan(8749n, b, 1n),
  );

/** atan(1/n), or atanh(1/n) if `sign` is 1, times 2^bits. */
function inverseAtan(n: bigint, bits: number, sign: bigint): bigint {
  let power = (1n << BigInt(bits)) / n;
  let sum = power;
  for (let k = 3n; power !== 0n; k += 2n) {
    power = (sign * power) / (n * n);
    sum += power / k;
  }
  return sum;
}
