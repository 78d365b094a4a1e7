import { describe, expect, it } from "vitest";
import {
  add,
  compare,
  divide,
  factorial,
  floor,
  fromDecimal,
  multiply,
  power,
  type Rational,
  rational,
  rootOf,
  subtract,
  toNumber,
} from "../../../src/rewards/maths/rational.ts";

const of = (num: number, den = 1): Rational => rational(BigInt(num), BigInt(den))!;
const text = (value: Rational | null) => (value ? `${value.num}/${value.den}` : null);

describe("exact fractions", () => {
  it("are in lowest terms, with the sign in the numerator", () => {
    expect(text(rational(6n, -8n))).toBe("-3/4");
    expect(text(rational(0n, -8n))).toBe("0/1");
    expect(rational(1n, 0n)).toBeNull();
  });

  it("add, subtract, multiply and divide", () => {
    expect(text(add(of(1, 3), of(1, 6)))).toBe("1/2");
    expect(text(subtract(of(1, 3), of(1, 2)))).toBe("-1/6");
    expect(text(multiply(of(2, 3), of(9, 4)))).toBe("3/2");
    expect(text(divide(of(2, 3), of(-4)))).toBe("-1/6");
    expect(divide(of(1), of(0))).toBeNull();
    expect(compare(of(-1, 3), of(-1, 2))).toBe(1);
    expect(text(floor(of(-7, 2)))).toBe("-4/1");
  });

  it.each([
    ["0", "0833", 0, "833/10000"],
    ["4", "5", 3, "4500/1"],
    ["1", "", -2, "1/100"],
    ["", "5", 0, "1/2"],
  ])("reads %s.%se%d", (whole, fraction, exponent, value) => {
    expect(text(fromDecimal(whole, fraction, exponent))).toBe(value);
  });

  it("support integer powers, and roots that stay fractions", () => {
    expect(text(power(of(2, 3), of(-3)))).toBe("27/8");
    expect(text(power(of(4, 9), of(3, 2)))).toBe("8/27");
    expect(text(power(of(-8), of(1, 3)))).toBe("-2/1");
    expect(text(power(of(0), of(0)))).toBe("1/1");
    expect(text(power(of(-1), of(999_999_999)))).toBe("-1/1");
    expect(power(of(2), of(1, 2))).toBeNull();
    expect(power(of(-4), of(1, 2))).toBeNull();
    expect(power(of(0), of(-1))).toBeNull();
    expect(text(rootOf(of(1024), 10))).toBe("2/1");
    expect(text(factorial(of(20)))).toBe("2432902008176640000/1");
  });

  it("return null if a number would exceed 131072 bits", () => {
    expect(power(of(2), of(131071))).not.toBeNull();
    expect(power(of(2), of(131073))).toBeNull();
    expect(power(of(9), of(1_000_000_000))).toBeNull();
    expect(factorial(of(100_000))).toBeNull();
    expect(fromDecimal("1", "", 99_999)).toBeNull();
  });

  it("become the nearest double, also if numerator and denominator are out of range", () => {
    expect(toNumber(of(1, 3))).toBe(1 / 3);
    const huge = power(of(10), of(400))!;
    expect(toNumber(divide(huge, add(huge, of(1))!)!)).toBeCloseTo(1, 12);
    expect(toNumber(huge)).toBe(Number.POSITIVE_INFINITY);
  });
});
