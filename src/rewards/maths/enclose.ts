import { type Box, Boxes } from "./boxes.ts";
import { type Budget, hash, MAX_TERMS, type Point } from "./evaluate.ts";
import { binomial, exactValue } from "./exact.ts";
import type { Expression } from "./expression.ts";
import { Undefined, Unsure } from "./interval.ts";
import { factorial, gcd, type Rational, rational } from "./rational.ts";

/** Budget units of one node, by precision. */
const costOf = (bits: number) => 1 + (bits / 128) ** 1.5;
/** Functions cost more: they are series of many terms. */
const FUNCTION_COST = 40;

/**
 * Bounds of an expression's value at a point, with a number of binary digits after the point. Same rules as `evaluate`.
 *
 * @throws {Undefined} the expression has no value there
 * @throws {Unsure} too few digits, not a number, or the budget is used up
 */
export function enclose(e: Expression, point: Point, bits: number, budget: Budget): Box {
  return new Encloser(point, bits, budget).value(e);
}

class Encloser {
  private readonly c: Boxes;
  private readonly point: Point;
  private readonly bits: number;
  private readonly budget: Budget;

  constructor(point: Point, bits: number, budget: Budget) {
    this.c = new Boxes(bits);
    this.point = point;
    this.bits = bits;
    this.budget = budget;
  }

  value(e: Expression): Box {
    return this.of(e, new Map());
  }

  private of(e: Expression, bound: ReadonlyMap<string, Box>): Box {
    if (!this.budget.spend(costOf(this.bits))) throw new Unsure();
    const exact = exactValue(e);
    if (exact) return this.c.fraction(exact.num, exact.den);
    switch (e.kind) {
      case "constant": {
        const own = bound.get(e.name);
        if (own) return own;
        if (e.name === "pi") return this.c.real(this.c.reals.pi());
        if (e.name === "e") return this.c.exp(this.c.one);
        if (e.name === "i" && !this.point.real) return this.c.i;
        throw new Undefined();
      }
      case "symbol": {
        const own = bound.get(e.name) ?? this.placeOf(e.name);
        if (e.index) return this.opaque(`${e.name}[]`, [this.of(e.index, bound)]);
        if (!own) throw new Undefined();
        return own;
      }
      case "sum":
        return e.terms.map((term) => this.of(term, bound)).reduce((a, b) => this.c.add(a, b), this.c.zero);
      case "product":
        return e.factors.map((factor) => this.of(factor, bound)).reduce((a, b) => this.c.multiply(a, b), this.c.one);
      case "negative":
        return this.c.negate(this.of(e.arg, bound));
      case "quotient":
        return this.c.divide(this.of(e.dividend, bound), this.of(e.divisor, bound));
      case "ratio":
        if (e.parts.length !== 2) throw new Undefined();
        return this.c.divide(this.of(e.parts[0], bound), this.of(e.parts[1], bound));
      case "power":
        // e to a power needs all digits of the power
        if (e.base.kind === "constant" && e.base.name === "e" && !bound.has("e"))
          return this.c.exp(this.of(e.exponent, bound));
        return this.power(this.of(e.base, bound), e.exponent, () => this.of(e.exponent, bound));
      case "quantity":
        return this.quantity(this.of(e.value, bound), e.unit);
      case "call": {
        if (!this.budget.spend(FUNCTION_COST * costOf(this.bits))) throw new Unsure();
        const args = e.args.map((arg) => this.of(arg, bound));
        return e.name === "root"
          ? this.root(args[0], args[1])
          : (this.known(e.name, args) ?? this.opaque(e.name, args));
      }
      case "series":
        return this.series(e, bound);
      default:
        throw new Undefined();
    }
  }

  private double(value: number): Box {
    return this.c.real(this.c.reals.double(value));
  }

  private placeOf(name: string): Box | null {
    const value = this.point.values.get(name);
    return value ? { re: this.c.reals.double(value.re), im: this.c.reals.double(value.im) } : null;
  }

  private quantity(value: Box, unit: string): Box {
    if (unit === "percent") return this.c.divide(value, this.c.fraction(100n));
    const degrees: Record<string, bigint> = { deg: 180n, arcmin: 10800n };
    if (!Object.hasOwn(degrees, unit)) return value;
    return this.c.divide(this.c.multiply(value, this.c.real(this.c.reals.pi())), this.c.fraction(degrees[unit]));
  }

  private power(base: Box, exponent: Expression, raised: () => Box): Box {
    if (this.c.isReal(base) && !this.c.isZero(base) && this.c.isNegative(base)) {
      const exact = exactValue(exponent);
      if (exact && exact.den !== 1n && exact.den % 2n === 1n) {
        const size = this.c.power(this.c.negate(base), this.c.fraction(exact.num, exact.den));
        return exact.num % 2n === 0n ? size : this.c.negate(size);
      }
      if (this.point.real && exact?.den !== 1n && this.c.whole(raised()) === null) throw new Undefined();
    }
    return this.c.power(base, raised());
  }

  private root(degree: Box, value: Box): Box {
    if (this.c.isReal(value) && !this.c.isZero(value) && this.c.isNegative(value)) {
      const whole = this.c.whole(degree);
      const odd = whole !== null && whole % 2n !== 0n;
      if (odd) return this.c.negate(this.c.power(this.c.negate(value), this.c.divide(this.c.one, degree)));
      if (this.point.real) throw new Undefined();
    }
    return this.c.power(value, this.c.divide(this.c.one, degree));
  }

  /** A well-known function; null for others. */
  private known(name: string, args: readonly Box[]): Box | null {
    const [a, b] = args;
    const inside = (yes: () => boolean) => {
      if (this.point.real && !yes()) throw new Undefined();
    };
    const positive = (x: Box) => this.c.isReal(x) && !this.c.isZero(x) && !this.c.isNegative(x);
    const within = () => this.c.isReal(a) && !this.c.isNegative(this.c.subtract(this.c.one, this.c.multiply(a, a)));
    switch (name) {
      case "sqrt":
        inside(() => this.c.isReal(a) && !this.c.isNegative(a));
        return this.c.sqrt(a);
      case "cbrt":
        return this.root(this.c.fraction(3n), a);
      case "ln":
      case "log":
        inside(() => positive(a));
        return this.c.log(a);
      case "lg":
        inside(() => positive(a));
        return this.c.divide(this.c.log(a), this.c.log(this.c.fraction(10n)));
      case "logb":
        inside(() => positive(a) && positive(b));
        return this.c.divide(this.c.log(b), this.c.log(a));
      case "exp":
        return this.c.exp(a);
      case "sin":
        return this.c.sinCos(a)[0];
      case "cos":
        return this.c.sinCos(a)[1];
      case "tan":
        return this.c.divide(...this.c.sinCos(a));
      case "cot": {
        const [sin, cos] = this.c.sinCos(a);
        return this.c.divide(cos, sin);
      }
      case "sec":
        return this.c.divide(this.c.one, this.c.sinCos(a)[1]);
      case "csc":
        return this.c.divide(this.c.one, this.c.sinCos(a)[0]);
      case "asin":
        inside(within);
        return this.c.asin(a);
      case "acos":
        inside(within);
        return this.c.subtract(this.c.divide(this.c.real(this.c.reals.pi()), this.c.fraction(2n)), this.c.asin(a));
      case "atan":
        return this.c.atan(a);
      case "sinh":
        return this.c.hyperbolic(a)[0];
      case "cosh":
        return this.c.hyperbolic(a)[1];
      case "tanh":
        return this.c.divide(...this.c.hyperbolic(a));
      case "abs":
        return this.c.real(this.c.modulus(a));
      case "re":
        return this.c.real(a.re);
      case "im":
        return this.c.real(a.im);
      default:
        return this.wholes(name, args);
    }
  }

  /** Functions of integers, and functions with integer values. */
  private wholes(name: string, args: readonly Box[]): Box | null {
    const rounded = (x: Box) => {
      if (!this.c.isReal(x)) throw new Undefined();
      return this.c.reals.floor(x.re);
    };
    const exact = (make: (values: bigint[]) => Rational | null): Box => {
      const values = args.map((arg) => this.c.whole(arg));
      if (values.includes(null)) throw new Unsure();
      const value = make(values as bigint[]);
      if (!value) throw new Unsure();
      return this.c.fraction(value.num, value.den);
    };
    const fraction = (num: bigint): Rational => ({ num, den: 1n });
    switch (name) {
      case "floor":
        return this.c.fraction(rounded(args[0]));
      case "ceil":
        return this.c.fraction(-rounded(this.c.negate(args[0])));
      case "factorial":
        return exact(([n]) => factorial(fraction(n)));
      case "binom":
        return exact(([n, k]) => binomial(fraction(n), fraction(k)));
      case "gcd":
        return exact((values) => rational(values.reduce(gcd)));
      case "lcm":
        return exact((values) => rational(values.reduce((x, y) => (x === 0n || y === 0n ? 0n : (x / gcd(x, y)) * y))));
      case "min":
      case "max": {
        if (!args.every((arg) => this.c.isReal(arg))) throw new Undefined();
        const first = (x: bigint, y: bigint) => (x < y === (name === "min") ? x : y);
        return this.c.real(
          args.map(({ re }) => re).reduce((x, y) => ({ lo: first(x.lo, y.lo), hi: first(x.hi, y.hi) })),
        );
      }
      default:
        return null;
    }
  }

  private series(e: Extract<Expression, { kind: "series" }>, bound: ReadonlyMap<string, Box>): Box {
    const from = this.of(e.from, bound);
    const at = (k: Box) => this.of(e.body, new Map(bound).set(e.variable, k));
    const infinite = e.to.kind === "constant" && e.to.name === "infinity";
    const to = infinite ? null : this.of(e.to, bound);
    const [first, last] = [this.c.whole(from), to && this.c.whole(to)];
    if (first === null || last === null || last - first >= BigInt(MAX_TERMS)) {
      const sample = [0.37, 1.83].map((k) => at(this.double(k)));
      return this.opaque(e.name, [from, to && e.to.kind !== "constant" ? to : this.double(-1.5), ...sample]);
    }
    let total = e.name === "sum" ? this.c.zero : this.c.one;
    for (let k = first; k <= last; k++) {
      total =
        e.name === "sum" ? this.c.add(total, at(this.c.fraction(k))) : this.c.multiply(total, at(this.c.fraction(k)));
    }
    return total;
  }

  /** The function that `evaluate` assigns to an unknown name. */
  private opaque(name: string, args: readonly Box[]): Box {
    let value = this.double(hash(`${name}/${args.length}`, this.point.seed));
    for (const [i, arg] of args.entries()) {
      const weighted = this.c.multiply(this.double(0.5 + hash(`${name}#${i}`, this.point.seed)), arg);
      value = this.c.add(value, this.c.add(weighted, this.c.sinCos(weighted)[0]));
    }
    return value;
  }
}
