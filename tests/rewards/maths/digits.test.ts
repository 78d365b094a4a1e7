import { describe, expect, it } from "vitest";
import { grade, mathsEqual } from "../../../src/rewards/maths/grade.ts";
import { Reals } from "../../../src/rewards/maths/interval.ts";
import { parsePythonJson } from "../../../src/text/python-json.ts";
import { cpuTime } from "../../cpu-time.ts";
import { sharedRows, sharedText } from "../../shared.ts";

/** Two answers, and whether they are equal to the last digit. */
const ROWS: readonly [gold: string, pred: string, equal: boolean][] = [
  // integers and fractions, however large
  ["9007199254740993", "9007199254740993", true],
  ["9007199254740993", "9007199254740992", false],
  ["1180591620717411303424", "1180591620717411303425", false],
  ["2024!", "2024! + 1", false],
  ["2024!", "2023!", false],
  ["\\frac{2025!}{2023!}", "2025\\cdot 2024", true],
  ["\\frac{2024!}{2023!}", "2024", true],
  ["\\frac{2024!}{2023!}", "2023", false],
  ["1-\\frac{1}{2024!}", "1", false],
  ["1-\\frac{1}{20!}", "1", false],
  ["1-\\frac{1}{2^{1000}}", "1-\\frac{1}{2^{1001}}", false],
  ["\\frac{1}{1000!}", "\\frac{1}{1002!}", false],
  ["\\frac{1}{3^{5000}}", "\\frac{1}{3^{5001}}", false],
  ["2^{100000}", "2^{100001}", false],
  ["2^{1000000}", "2^{1000001}", false],
  ["2^{1000000}", "4^{500000}", true],
  ["7^{10000}", "7^{10001}", false],
  ["10^{100}+1", "10^{100}", false],
  ["10^{100000}+1", "10^{100000}", false],
  ["\\binom{2024}{2}", "\\frac{2024!}{2!\\,2022!}", true],
  ["\\frac{1}{\\binom{2000}{1000}}", "\\frac{1}{\\binom{2000}{999}}", false],
  ["10^{-9}", "2\\cdot 10^{-9}", false],
  ["0", "10^{-10}", false],
  // irrational numbers
  ["e^{25}-1", "e^{25}", false],
  ["\\pi^{20}", "\\pi^{20}+1", false],
  ["\\sqrt{10^{20}+1}", "10^{10}", false],
  ["\\sqrt{10^{12}+1}", "10^6", false],
  ["\\ln(10^{12}+1)", "12\\ln 10", false],
  ["\\left\\lfloor \\sqrt{10^{20}+1}\\right\\rfloor", "10^{10}", true],
  ["\\lfloor \\sqrt{2}\\cdot\\sqrt{2} \\rfloor", "2", true],
  ["\\arctan(10^{20})", "\\frac{\\pi}{2}", false],
  ["\\sin(10^{20}\\pi)", "0", true],
  ["e^{1000}", "e^{1001}", false],
  ["e^{1000}+e^{-1000}", "e^{1000}", false],
  ["e^{-10000}", "e^{-10001}", false],
  ["e^{-10000}", "\\frac{1}{e^{10000}}", true],
  ["e^{-10000}", "0", false],
  ["e^{-8000}+e^{-8001}", "e^{-8000}+e^{-8002}", false],
  ["e^{1000000}", "(e^{1000})^{1000}", true],
  ["\\sqrt{2}+\\sqrt{3}", "\\sqrt{5+2\\sqrt{6}}", true],
  ["\\sqrt[3]{2+\\sqrt{5}}+\\sqrt[3]{2-\\sqrt{5}}", "1", true],
  ["\\cos\\frac{\\pi}{7}-\\cos\\frac{2\\pi}{7}+\\cos\\frac{3\\pi}{7}", "\\frac12", true],
  ["4\\arctan\\frac15-\\arctan\\frac1{239}", "\\frac{\\pi}{4}", true],
  ["e^{\\pi\\sqrt{163}}", "262537412640768744", false],
  ["e^{i\\pi}+1", "0", true],
  ["(1+i)^{10}", "32i", true],
  ["(1/2)!", "\\frac{\\sqrt{\\pi}}{2}", true],
  // decimals round, to the half of their last digit
  ["\\pi", "3.141593", true],
  ["\\pi", "3.141594", false],
  ["0.333333", "\\frac13", true],
  ["0.3333334", "\\frac13", false],
  // expressions, equations and sets
  ["x+10^{-12}", "x", false],
  ["10^{20}x+1", "10^{20}x", false],
  ["x^2+y^2=10^8", "x^2+y^2=10^8+1", false],
  ["2x^2+2y^2=2\\cdot 10^8", "x^2+y^2=10^8", true],
  ["\\frac{(n+1)!}{n!}", "n+1", true],
  ["(0, e^{25}-1)", "(0, e^{25})", false],
  ["[0, e^{25})", "[0, e^{25}-1)", false],
  ["x > e^{25}", "x > e^{25}-1", false],
  ["2x < 10^{13}", "x < 5\\cdot 10^{12}", true],
  ["2x < 10^{13}+1", "x < 5\\cdot 10^{12}", false],
  ["\\{10^{12}\\}", "\\{10^{12}+1\\}", false],
  // units
  ["5.08\\text{ cm}", "2\\text{ in}", true],
  ["36\\text{ mph}", "57.936384\\text{ kph}", true],
  ["180^\\circ", "\\pi\\text{ rad}", true],
  ["1000000000001\\text{ m}", "1000000000.001\\text{ km}", true],
  ["1000000000001\\text{ m}", "1000000000\\text{ km}", false],
  // letters in bold, and continental European numbers
  ["21", "\\mathbf{21}", true],
  ["0.5", "\\mathbf{\\frac{1}{2}}", true],
  ["3x", "\\mathbf{3x}", true],
  ["x+1", "\\mathbf{x}+1", true],
  ["1234.5", "1.234,5", true],
  ["1234.5", "1.234,6", false],
];

describe("answers are compared to the last digit", () => {
  it.each(ROWS)("%s and %s: %s", (gold, pred, equal) => {
    expect(grade(gold, `\\boxed{${pred}}`).equal).toBe(equal);
    expect(grade(pred, `\\boxed{${gold}}`).equal).toBe(equal);
  });
});

describe("inputs that were graded wrongly", () => {
  for (const name of ["bigint", "close", "mathverify", "tiny"]) {
    const text = sharedText(`cases/grading/grade-${name}.jsonl`);
    it.skipIf(text === null)(name, () => {
      const rows = text!
        .trim()
        .split("\n")
        .map((line) => parsePythonJson(line) as Record<string, unknown>);
      const wrong = rows.filter(
        ({ gold, pred, expected }) => expected !== null && grade(String(gold), String(pred)).equal !== expected,
      );
      expect(wrong).toEqual([]);
    });
  }
});

describe("no comparison takes long", () => {
  const many = (n: number, part: (i: number) => string, joint = "+") =>
    Array.from({ length: n }, (_, i) => part(i)).join(joint);
  it.each([
    ["factorials", many(200, (i) => `${4990 - i}!`), `${many(200, (i) => `${4990 - i}!`)}+1`],
    ["fractions", many(60, (i) => `\\frac{3^{${80000 - i}}}{2^{${120000 - i}}}`), "1"],
    ["a tower", "9^{9^{9^{9}}}", "9^{9^{9^{8}}}"],
    ["a tower of e", "e^{e^{e^{e}}}", "e^{e^{e^{e}}}+1"],
    ["binomials", many(100, (i) => `\\binom{${100000 + i}}{${5000 - i}}`), "1"],
    ["zeros", many(60, (i) => `\\sin(${i + 1}\\pi)\\ln(${i + 3})e^{${i}}`), "0"],
    [
      "functions",
      many(60, (i) => `\\sin(${i}+\\sqrt2)\\ln(${i + 2})`),
      many(60, (i) => `\\ln(${61 - i})\\sin(${59 - i}+\\sqrt2)`),
    ],
    [
      "intervals",
      many(30, (i) => `(${i}\\sqrt2, ${i}\\sqrt2+1)`, "\\cup "),
      many(30, (i) => `(${29 - i}\\sqrt2, ${29 - i}\\sqrt2+1)`, "\\cup "),
    ],
    ["series", "\\sum_{k=1}^{199} \\sum_{j=1}^{199} \\sin(jk)", "1+\\sum_{k=1}^{199} \\sum_{j=1}^{199} \\sin(jk)"],
  ])("%s", (_, a, b) => {
    const spent = cpuTime();
    mathsEqual(a, b);
    expect(spent()).toBeLessThan(1);
  });

  for (const file of ["math500/test.jsonl", "olympiadbench/test.jsonl"]) {
    const rows = sharedRows(`data/${file}`);
    it.skipIf(!rows)(`of ${file} with its neighbour`, () => {
      const answers = rows!.map((row) => String(row.answer ?? row.final_answer));
      let slowest = 0;
      for (const [i, answer] of answers.entries()) {
        for (const other of [answer, `${answer}+0`, answers[(i + 1) % answers.length]]) {
          const spent = cpuTime();
          mathsEqual(answer, other);
          slowest = Math.max(slowest, spent());
        }
      }
      expect(slowest).toBeLessThan(1);
    });
  }
});

describe("bounds in fixed point", () => {
  const sizes = [128, 640, 2720];
  const values = [0.3, 1.7, 25, 0.001, 99.5, 1e-6];
  it.each(sizes)("contain the value of doubles, in %d bits", (bits) => {
    const reals = new Reals(bits);
    const check = ({ lo, hi }: { lo: bigint; hi: bigint }, wanted: number) => {
      const [low, high] = [lo, hi].map((x) => Number(x >> BigInt(bits - 100)) / 2 ** 100);
      const slack = 1e-14 * Math.max(1, Math.abs(wanted));
      expect(low).toBeLessThanOrEqual(wanted + slack);
      expect(high).toBeGreaterThanOrEqual(wanted - slack);
      expect((hi - lo) >> BigInt(bits / 2)).toBe(0n);
    };
    for (const value of values.flatMap((v) => [v, -v])) {
      const x = reals.double(value);
      check(reals.exp(x), Math.exp(value));
      check(reals.sin(x), Math.sin(value));
      check(reals.cos(x), Math.cos(value));
      check(reals.atan(x), Math.atan(value));
      if (value < 0) continue;
      check(reals.ln(x), Math.log(value));
      check(reals.sqrt(x), Math.sqrt(value));
    }
  });

  it.each(sizes)("hold identities to the last of %d bits", (bits) => {
    const reals = new Reals(bits);
    const around = ({ lo, hi }: { lo: bigint; hi: bigint }) => lo <= 0n && hi >= 0n && hi - lo < 1n << 60n;
    for (const value of values) {
      const x = reals.double(value);
      expect(around(reals.subtract(reals.ln(reals.exp(x)), x))).toBe(true);
      const [s, c] = reals.sinCos(x);
      const one = reals.add(reals.multiply(s, s), reals.multiply(c, c));
      expect(around(reals.subtract(one, reals.one))).toBe(true);
      const root = reals.sqrt(x);
      expect(around(reals.subtract(reals.multiply(root, root), x))).toBe(true);
    }
    // Machin's and Gauss' formulas for π
    const atan = (d: bigint) => reals.atan(reals.fraction(1n, d));
    const times = (n: bigint, x: { lo: bigint; hi: bigint }) => reals.multiply(reals.fraction(n, 1n), x);
    const gauss = reals.add(reals.add(times(48n, atan(18n)), times(32n, atan(57n))), times(-20n, atan(239n)));
    expect(around(reals.subtract(gauss, reals.pi()))).toBe(true);
  });
});
