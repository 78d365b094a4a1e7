import { divide, fromDecimal, multiply, ONE, type Rational, power as raised, rational } from "./rational.ts";

/** A unit's quantity, and its size in the quantity's base unit. */
interface Unit {
  readonly of: string;
  readonly size: Rational;
  /** power of π in the size */
  readonly pi: number;
}

/** Sizes are exact: decimals, or fractions. */
const TABLE: Readonly<Record<string, Readonly<Record<string, number | string>>>> = {
  length: {
    "nm nanometer nanometre": 1e-9,
    "μm um micron micrometer micrometre": 1e-6,
    "mm millimeter millimetre": 1e-3,
    "cm centimeter centimetre": 1e-2,
    "dm decimeter decimetre": 0.1,
    "m meter metre": 1,
    "km kilometer kilometre": 1e3,
    "in inch": 0.0254,
    "ft foot feet": 0.3048,
    "yd yard": 0.9144,
    "mi mile": 1609.344,
  },
  mass: {
    "mg milligram": 1e-6,
    "g gram": 1e-3,
    "kg kilogram": 1,
    "oz ounce": 0.028349523125,
    "lb pound": 0.45359237,
    "t ton tonne": 1e3,
  },
  time: {
    "ns nanosecond": 1e-9,
    "ms millisecond": 1e-3,
    "s sec second": 1,
    "min minute": 60,
    "h hr hour": 3600,
    day: 86400,
    week: 604800,
  },
  month: { month: 1, "yr year": 12 },
  angle: { "deg degree °": 1, "rad radian": "180", arcmin: "1/60", arcsec: "1/3600" },
  money: { "dollar usd buck": 1, cent: 0.01 },
  euro: { "euro eur": 1 },
  pound: { gbp: 1 },
  yuan: { "yuan rmb cny": 1 },
  rupee: { "rupee inr rs": 1 },
  volume: { "ml milliliter millilitre": 1e-6, "l liter litre": 1e-3, gallon: 0.003785411784 },
  speed: { mph: 0.44704, kph: "5/18" },
  force: { "n newton": 1 },
  energy: { "j joule": 1, "kj kilojoule": 1e3, "ev electronvolt": 1.602176634e-19, "erg ergs": 1e-7 },
  power: { "w watt": 1, "kw kilowatt": 1e3 },
  pressure: { "pa pascal": 1, "kpa kilopascal": 1e3, "atm atmosphere": 101325 },
  voltage: { "v volt": 1 },
  current: { "a amp ampere": 1 },
  temperature: { "k kelvin": 1 },
  frequency: { "hz hertz": 1, "khz kilohertz": 1e3, "mhz megahertz": 1e6 },
  amount: { "mol mole": 1 },
};

const UNITS = new Map<string, Unit>();
for (const [of, own] of Object.entries(TABLE)) {
  for (const [names, size] of Object.entries(own))
    for (const name of names.split(" ")) {
      UNITS.set(name, { of, size: sizeOf(size), pi: name.startsWith("rad") ? -1 : 0 });
    }
}

function sizeOf(size: number | string): Rational {
  if (typeof size === "string") {
    const [num, den = "1"] = size.split("/");
    return rational(BigInt(num), BigInt(den))!;
  }
  const [digits, exponent = "0"] = size.toExponential().split("e");
  const [whole, fraction = ""] = digits.split(".");
  return fromDecimal(whole, fraction, Number(exponent))!;
}

/** Words after a number that only name the counted things. */
const COUNTED = new Set(
  (
    "percent pct percentage sq square cubic cu unit point people person student apple book step way time piece page egg " +
    "pair dozen item card ball side triangle child children part member team game vote ticket mark digit integer " +
    "solution value marble combination arrangement outcome possibility possibilitie house car number"
  ).split(" "),
);

/** A unit's name in lower case and in the singular. */
function singular(name: string): string {
  const lower = name.toLowerCase().replace(/\.$/, "");
  return UNITS.has(lower) || COUNTED.has(lower) ? lower : lower.replace(/(?<=ch|x|s)es$|s$/, "");
}

/** Whether a plain word is a unit: two letters at least, since 6 m may be a product. */
export function isUnitWord(word: string): boolean {
  if (word.length < 2) return false;
  const name = singular(word);
  return (UNITS.has(name) && name.length > 1) || COUNTED.has(name);
}

/** A unit's dimension (`length^2/time` for cm^2/s) and its size in base units; null if a part is unknown. */
function measureOf(unit: string): { of: string; base: string; size: Rational; pi: number } | null {
  const powers = new Map<string, number>();
  let size: Rational | null = ONE;
  let pi = 0;
  let sign = 1;
  let times = 1;
  for (const [token] of unit.matchAll(/\/|[a-zA-Z°μ]+\.?(?:\s*\^\s*\{?\s*-?\d+\s*\}?)?/g)) {
    if (token === "/" || token === "per") {
      sign = -1;
      continue;
    }
    const [, word, exponent] = /^([a-zA-Z°μ]+\.?)(?:\s*\^\s*\{?\s*(-?\d+))?/.exec(token)!;
    if (/^(?:sq|square)\.?$/i.test(word)) times = 2;
    else if (/^(?:cu|cubic)\.?$/i.test(word)) times = 3;
    else {
      const found = UNITS.get(singular(word));
      if (!found) return null;
      const power = sign * (exponent === undefined ? times : Math.max(-9, Math.min(9, Number(exponent))));
      powers.set(found.of, (powers.get(found.of) ?? 0) + power);
      const own = raised(found.size, rational(BigInt(power))!);
      size = size && own && multiply(size, own);
      pi += power * found.pi;
      times = 1;
    }
  }
  if (powers.size === 0 || !size) return null;
  const parts = [...powers].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    of: parts.map(([name, power]) => `${name}^${power}`).join(" "),
    base: parts.map(([name]) => name).join(" "),
    size,
    pi,
  };
}

/** A factor between units: a fraction, times a power of π. */
interface Conversion {
  num: Rational;
  pi: number;
}

const NONE: Conversion = { num: ONE, pi: 0 };

/** The number of `to` in one `from`: 100 for m and cm; null if both are known and measure different quantities. */
export function conversion(from: string, to: string): Conversion | null {
  const [a, b] = [measureOf(from), measureOf(to)];
  // unknown units and missing exponents do not make an answer wrong
  if (!a || !b) return NONE;
  if (a.of !== b.of) return a.base === b.base ? NONE : null;
  const num = divide(a.size, b.size);
  return num && { num, pi: a.pi - b.pi };
}
