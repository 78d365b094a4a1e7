import { type Box, Boxes } from "./boxes.ts";
import { type Budget, hash, MAX_TERMS, type Point } from "./evaluate.ts";
import { binomial, exactValue } from "./exact.ts";
import type { Expression } from "./expression.ts";
import { Undefined, Unsure } from "./interval.ts";
import { factorial, gcd, type Rational, rational } from "./rational.ts";

/** Work of one node in the terms of a budget, by the digits that it is done with. */
const costOf = (bits: number) => 1 + (bits / 128) ** 1.5;
/** Functions are series of many terms. */
const FUNCTION_COST = 40;

/**
 * Bounds of an expression's value at a point, with a number of binary digits behind the point. The rules are those of
 * `evaluate`.
 *
 * @throws {Undefined} it has no value there
 * @throws {Unsure} these digits do not tell, no number stands for it, or the budget is spent
 */
export function enclose(e: Expression, point: Point, bits: number, budget: Budget): Box {
  const c = new Boxes(bits);

  const of = (e: Expression, bound: ReadonlyMap<string, Box>): Box => {
    if (!budget.spend(costOf(bits))) throw new Unsure();
    const exact = exactValue(e);
    if (exact) return c.fraction(exact.num, exact.den);
    switch (e.kind) {
      case "constant": {
        const own = bound.get(e.name);
        if (own) return own;
        if (e.name === "pi") return c.real(c.reals.pi());
        if (e.name === "e") return c.exp(c.one);
        if (e.name === "i" && !point.real) return c.i;
        throw new Undefined();
      }
      case "symbol": {
        const own = bound.get(e.name) ?? placeOf(e.name);
        if (e.index) return opaque(`${e.name}[]`, [of(e.index, bound)]);
        if (!own) throw new Undefined();
        return own;
      }
      case "sum":
        return e.terms.map((term) => of(term, bound)).reduce((a, b) => c.add(a, b), c.zero);
      case "product":
        return e.factors.map((factor) => of(factor, bound)).reduce((a, b) => c.multiply(a, b), c.one);
      case "negative":
        return c.negate(of(e.arg, bound));
      case "quotient":
        return c.divide(of(e.dividend, bound), of(e.divisor, bound));
      case "ratio":
        if (e.parts.length !== 2) throw new Undefined();
        return c.divide(of(e.parts[0], bound), of(e.parts[1], bound));
      case "power":
        // e to a power has all the digits that the power has
        if (e.base.kind === "constant" && e.base.name === "e" && !bound.has("e")) return c.exp(of(e.exponent, bound));
        return power(of(e.base, bound), e.exponent, () => of(e.exponent, bound));
      case "quantity":
        return quantity(of(e.value, bound), e.unit);
      case "call": {
        if (!budget.spend(FUNCTION_COST * costOf(bits))) throw new Unsure();
        const args = e.args.map((arg) => of(arg, bound));
        return e.name === "root" ? root(args[0], args[1]) : (known(e.name, args) ?? opaque(e.name, args));
      }
      case "series":
        return series(e, bound);
      default:
        throw new Undefined();
    }
  };

  const double = (value: number): Box => c.real(c.reals.double(value));

  function placeOf(name: string): Box | null {
    const value = point.values.get(name);
    return value ? { re: c.reals.double(value.re), im: c.reals.double(value.im) } : null;
  }

  function quantity(value: Box, unit: string): Box {
    if (unit === "percent") return c.divide(value, c.fraction(100n));
    const degrees: Record<string, bigint> = { deg: 180n, arcmin: 10800n };
    if (!Object.hasOwn(degrees, unit)) return value;
    return c.divide(c.multiply(value, c.real(c.reals.pi())), c.fraction(degrees[unit]));
  }

  function power(base: Box, exponent: Expression, raised: () => Box): Box {
    if (c.isReal(base) && !c.isZero(base) && c.isNegative(base)) {
      const exact = exactValue(exponent);
      if (exact && exact.den !== 1n && exact.den % 2n === 1n) {
        const size = c.power(c.negate(base), c.fraction(exact.num, exact.den));
        return exact.num % 2n === 0n ? size : c.negate(size);
      }
      if (point.real && exact?.den !== 1n && c.whole(raised()) === null) throw new Undefined();
    }
    return c.power(base, raised());
  }

  function root(degree: Box, value: Box): Box {
    if (c.isReal(value) && !c.isZero(value) && c.isNegative(value)) {
      const whole = c.whole(degree);
      const odd = whole !== null && whole % 2n !== 0n;
      if (odd) return c.negate(c.power(c.negate(value), c.divide(c.one, degree)));
      if (point.real) throw new Undefined();
    }
    return c.power(value, c.divide(c.one, degree));
  }

  /** A function that everybody knows; null for others. */
  function known(name: string, args: readonly Box[]): Box | null {
    const [a, b] = args;
    const inside = (yes: () => boolean) => {
      if (point.real && !yes()) throw new Undefined();
    };
    const positive = (x: Box) => c.isReal(x) && !c.isZero(x) && !c.isNegative(x);
    const within = () => c.isReal(a) && !c.isNegative(c.subtract(c.one, c.multiply(a, a)));
    switch (name) {
      case "sqrt":
        inside(() => c.isReal(a) && !c.isNegative(a));
        return c.sqrt(a);
      case "cbrt":
        return root(c.fraction(3n), a);
      case "ln":
      case "log":
        inside(() => positive(a));
        return c.log(a);
      case "lg":
        inside(() => positive(a));
        return c.divide(c.log(a), c.log(c.fraction(10n)));
      case "logb":
        inside(() => positive(a) && positive(b));
        return c.divide(c.log(b), c.log(a));
      case "exp":
        return c.exp(a);
      case "sin":
        return c.sinCos(a)[0];
      case "cos":
        return c.sinCos(a)[1];
      case "tan":
        return c.divide(...c.sinCos(a));
      case "cot": {
        const [sin, cos] = c.sinCos(a);
        return c.divide(cos, sin);
      }
      case "sec":
        return c.divide(c.one, c.sinCos(a)[1]);
      case "csc":
        return c.divide(c.one, c.sinCos(a)[0]);
      case "asin":
        inside(within);
        return c.asin(a);
      case "acos":
        inside(within);
        return c.subtract(c.divide(c.real(c.reals.pi()), c.fraction(2n)), c.asin(a));
      case "atan":
        return c.atan(a);
      case "sinh":
        return c.hyperbolic(a)[0];
      case "cosh":
        return c.hyperbolic(a)[1];
      case "tanh":
        return c.divide(...c.hyperbolic(a));
      case "abs":
        return c.real(c.modulus(a));
      case "re":
        return c.real(a.re);
      case "im":
        return c.real(a.im);
      default:
        return wholes(name, args);
    }
  }

  /** Functions of whole numbers, and those that give such. */
  function wholes(name: string, args: readonly Box[]): Box | null {
    const rounded = (x: Box) => {
      if (!c.isReal(x)) throw new Undefined();
      return c.reals.floor(x.re);
    };
    const exact = (make: (values: bigint[]) => Rational | null): Box => {
      const values = args.map((arg) => c.whole(arg));
      if (values.includes(null)) throw new Unsure();
      const value = make(values as bigint[]);
      if (!value) throw new Unsure();
      return c.fraction(value.num, value.den);
    };
    const fraction = (num: bigint): Rational => ({ num, den: 1n });
    switch (name) {
      case "floor":
        return c.fraction(rounded(args[0]));
      case "ceil":
        return c.fraction(-rounded(c.negate(args[0])));
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
        if (!args.every((arg) => c.isReal(arg))) throw new Undefined();
        const first = (x: bigint, y: bigint) => (x < y === (name === "min") ? x : y);
        return c.real(args.map(({ re }) => re).reduce((x, y) => ({ lo: first(x.lo, y.lo), hi: first(x.hi, y.hi) })));
      }
      default:
        return null;
    }
  }

  function series(e: Extract<Expression, { kind: "series" }>, bound: ReadonlyMap<string, Box>): Box {
    const from = of(e.from, bound);
    const at = (k: Box) => of(e.body, new Map(bound).set(e.variable, k));
    const infinite = e.to.kind === "constant" && e.to.name === "infinity";
    const to = infinite ? null : of(e.to, bound);
    const [first, last] = [c.whole(from), to && c.whole(to)];
    if (first === null || last === null || last - first >= BigInt(MAX_TERMS)) {
      const sample = [0.37, 1.83].map((k) => at(double(k)));
      return opaque(e.name, [from, to && e.to.kind !== "constant" ? to : double(-1.5), ...sample]);
    }
    let total = e.name === "sum" ? c.zero : c.one;
    for (let k = first; k <= last; k++) {
      total = e.name === "sum" ? c.add(total, at(c.fraction(k))) : c.multiply(total, at(c.fraction(k)));
    }
    return total;
  }

  /** The function that `evaluate` takes for a name that it does not know. */
  function opaque(name: string, args: readonly Box[]): Box {
    let value = double(hash(`${name}/${args.length}`, point.seed));
    for (const [i, arg] of args.entries()) {
      const weighted = c.multiply(double(0.5 + hash(`${name}#${i}`, point.seed)), arg);
      value = c.add(value, c.add(weighted, c.sinCos(weighted)[0]));
    }
    return value;
  }

  return of(e, new Map());
}
