import { FNV_START, fnvText } from "../../text/hash.ts";
import * as C from "./complex.ts";
import { type Complex, complex } from "./complex.ts";
import { exactValue } from "./exact.ts";
import { childrenOf, type Expression } from "./expression.ts";
import { toNumber } from "./rational.ts";

/** Work limit of one grading, in visited nodes. Every evaluation rule uses one, so grading always ends. */
export class Budget {
  left: number;

  constructor(nodes = 300_000) {
    this.left = nodes;
  }

  /** @returns whether any is left */
  spend(nodes: number): boolean {
    this.left -= nodes;
    return this.left > 0;
  }
}

/** The point at which an expression is evaluated. */
export interface Point {
  values: ReadonlyMap<string, Complex>;
  /** name of the point: unknown functions and indexed symbols get distinct values for it */
  seed: number;
  /** NaN outside the reals: √−1, ln −1, i. Else principal values. */
  real: boolean;
}

/** A value, and the largest term of its sums: a bound on cancellation. */
export interface Evaluated {
  value: Complex;
  size: number;
}

const NOT = complex(Number.NaN, Number.NaN);
/** most terms of a sum to add */
export const MAX_TERMS = 200;

/** Evaluates an expression at a point; NaN if it has no value, is not a number, or the budget is used up. */
export function evaluate(e: Expression, point: Point, budget: Budget): Evaluated {
  let size = 0;

  const of = (e: Expression, bound: ReadonlyMap<string, Complex>): Complex => {
    if (!budget.spend(1)) return NOT;
    switch (e.kind) {
      case "number":
        return e.base === null ? complex(toNumber(e.value)) : NOT;
      case "constant": {
        const own = bound.get(e.name);
        if (own) return own;
        if (e.name === "pi") return complex(Math.PI);
        if (e.name === "e") return complex(Math.E);
        return e.name === "i" && !point.real ? complex(0, 1) : NOT;
      }
      case "symbol": {
        const own = bound.get(e.name) ?? point.values.get(e.name);
        if (!e.index) return own ?? NOT;
        return opaque(`${e.name}[]`, [of(e.index, bound)], point.seed);
      }
      case "sum": {
        let total = complex(0);
        for (const term of e.terms) {
          const value = of(term, bound);
          size = Math.max(size, C.modulus(value));
          total = C.add(total, value);
        }
        return total;
      }
      case "product":
        return e.factors.reduce((total, factor) => C.multiply(total, of(factor, bound)), complex(1));
      case "negative":
        return C.negate(of(e.arg, bound));
      case "quotient":
        return quotient(of(e.dividend, bound), of(e.divisor, bound));
      case "ratio":
        return e.parts.length === 2 ? quotient(of(e.parts[0], bound), of(e.parts[1], bound)) : NOT;
      case "power":
        return power(of(e.base, bound), e.exponent, () => of(e.exponent, bound), point.real);
      case "quantity": {
        const value = of(e.value, bound);
        const scales: Record<string, number> = { percent: 0.01, deg: Math.PI / 180, arcmin: Math.PI / 10800 };
        return Object.hasOwn(scales, e.unit) ? C.scale(value, scales[e.unit]) : value;
      }
      case "call":
        if (e.name === "root") return root(of(e.args[0], bound), of(e.args[1], bound), point.real);
        return (
          known(
            e.name,
            e.args.map((arg) => of(arg, bound)),
            point.real,
          ) ??
          opaque(
            e.name,
            e.args.map((arg) => of(arg, bound)),
            point.seed,
          )
        );
      case "series":
        return series(e, bound);
      default:
        return NOT;
    }
  };

  const series = (e: Extract<Expression, { kind: "series" }>, bound: ReadonlyMap<string, Complex>): Complex => {
    const from = of(e.from, bound);
    const to = of(e.to, bound);
    const whole = (value: Complex) => C.isReal(value) && Number.isInteger(value.re);
    const at = (k: Complex) => of(e.body, new Map(bound).set(e.variable, k));
    if (!whole(from) || !whole(to) || to.re - from.re >= MAX_TERMS) {
      // symbolic limits: the same body with the same limits is the same series
      const sample = [0.37, 1.83].map((k) => at(complex(k)));
      return opaque(e.name, [from, e.to.kind === "constant" ? complex(-1.5) : to, ...sample], point.seed);
    }
    let total = complex(e.name === "sum" ? 0 : 1);
    for (let k = from.re; k <= to.re; k++) {
      const value = at(complex(k));
      total = e.name === "sum" ? C.add(total, value) : C.multiply(total, value);
    }
    return total;
  };

  const value = of(e, new Map());
  return { value, size };
}

function quotient(a: Complex, b: Complex): Complex {
  return b.re === 0 && b.im === 0 ? NOT : C.divide(a, b);
}

/** base^exponent; an odd root of a negative base is real: (−8)^{1/3} is −2. */
function power(base: Complex, exponent: Expression, raised: () => Complex, real: boolean): Complex {
  const negative = C.isReal(base) && base.re < 0;
  if (negative) {
    const exact = exactValue(exponent);
    if (exact && exact.den !== 1n && exact.den % 2n === 1n) {
      const size = (-base.re) ** toNumber(exact);
      return complex(exact.num % 2n === 0n ? size : -size);
    }
    if (real && exact?.den !== 1n) {
      const value = raised();
      if (!C.isReal(value) || !Number.isInteger(value.re)) return NOT;
    }
  }
  return C.power(base, raised());
}

function root(degree: Complex, value: Complex, real: boolean): Complex {
  if (C.isReal(value) && value.re < 0) {
    if (C.isReal(degree) && Math.abs(degree.re % 2) === 1) return complex(-((-value.re) ** (1 / degree.re)));
    if (real) return NOT;
  }
  return C.power(value, C.divide(complex(1), degree));
}

const onReals = (f: (x: number) => number, a: Complex): Complex => (C.isReal(a) ? complex(f(a.re)) : NOT);

/** A well-known function; null for others. */
function known(name: string, args: readonly Complex[], real: boolean): Complex | null {
  const [a, b] = args;
  const outside = real && !C.isReal(a);
  switch (name) {
    case "sqrt":
      return real && (outside || a.re < 0) ? NOT : C.sqrt(a);
    case "cbrt":
      return C.isReal(a) ? complex(Math.cbrt(a.re)) : C.power(a, complex(1 / 3));
    case "ln":
    case "log": // natural logarithm; base 10 is written as log_10 or lg
      return real && (outside || a.re <= 0) ? NOT : C.log(a);
    case "lg":
      return real && (outside || a.re <= 0) ? NOT : C.scale(C.log(a), Math.LOG10E);
    case "logb":
      return real && !(a.re > 0 && b.re > 0) ? NOT : C.divide(C.log(b), C.log(a));
    case "exp":
      return C.exp(a);
    case "sin":
      return C.sin(a);
    case "cos":
      return C.cos(a);
    case "tan":
      return C.divide(C.sin(a), C.cos(a));
    case "cot":
      return C.divide(C.cos(a), C.sin(a));
    case "sec":
      return C.divide(complex(1), C.cos(a));
    case "csc":
      return C.divide(complex(1), C.sin(a));
    case "asin":
      return real && !(Math.abs(a.re) <= 1) ? NOT : C.asin(a);
    case "acos":
      return real && !(Math.abs(a.re) <= 1) ? NOT : C.acos(a);
    case "atan":
      return C.atan(a);
    case "sinh":
      return C.sinh(a);
    case "cosh":
      return C.cosh(a);
    case "tanh":
      return C.divide(C.sinh(a), C.cosh(a));
    case "abs":
      return complex(C.modulus(a));
    case "re":
      return complex(a.re);
    case "im":
      return complex(a.im);
    case "floor":
      return onReals(Math.floor, a);
    case "ceil":
      return onReals(Math.ceil, a);
    case "factorial":
      return onReals(C.factorial, a);
    case "binom": {
      if (!b || !C.isReal(a) || !C.isReal(b)) return NOT;
      return complex(C.factorial(a.re) / (C.factorial(b.re) * C.factorial(a.re - b.re)));
    }
    case "min":
    case "max":
      if (!args.every(C.isReal)) return NOT;
      return complex(Math[name](...args.map(({ re }) => re)));
    case "gcd":
    case "lcm": {
      if (!args.every((arg) => C.isReal(arg) && Number.isInteger(arg.re))) return NOT;
      const divisor = (x: number, y: number): number => (y === 0 ? Math.abs(x) : divisor(y, x % y));
      const numbers = args.map(({ re }) => re);
      return complex(numbers.reduce((x, y) => (name === "gcd" ? divisor(x, y) : Math.abs(x * y) / divisor(x, y))));
    }
    default:
      return null;
  }
}

/** A smooth function for a name and a seed: equal arguments give equal values, different ones almost never do. */
function opaque(name: string, args: readonly Complex[], seed: number): Complex {
  let value = complex(hash(`${name}/${args.length}`, seed));
  for (const [i, arg] of args.entries()) {
    const weight = complex(0.5 + hash(`${name}#${i}`, seed));
    value = C.add(value, C.add(C.multiply(weight, arg), C.sin(C.multiply(weight, arg))));
  }
  return value;
}

/** A number in [0, 1) from a text and a seed: FNV-1a, mixed. */
export function hash(text: string, seed: number): number {
  let h = fnvText(text, FNV_START ^ seed);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
  return ((h ^ (h >>> 15)) >>> 0) / 0x100000000;
}

/** Functions of integers: their symbols get integer values. */
const WHOLE = new Set(["floor", "ceil", "factorial", "binom", "gcd", "lcm"]);

/** Whether an expression has integer symbols: ⌊n/2⌋, n!, (−1)^n. */
export function isAboutWholes(e: Expression): boolean {
  if (e.kind === "call" && WHOLE.has(e.name)) return true;
  if (e.kind === "power" && e.base.kind === "negative" && exactValue(e.exponent) === null) return true;
  return childrenOf(e).some(isAboutWholes);
}
