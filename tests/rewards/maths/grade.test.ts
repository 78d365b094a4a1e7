import { describe, expect, it } from "vitest";
import { keyOf } from "../../../src/rewards/maths/expression.ts";
import { grade, mathsEqual } from "../../../src/rewards/maths/grade.ts";
import { parseAnswer } from "../../../src/rewards/maths/parse.ts";
import { lcg } from "../../../src/text/hash.ts";
import { cpuTime } from "../../cpu-time.ts";
import { HOSTILE, randomAnswers } from "./random-answers.ts";

const EQUAL: [string, string][] = [
  ["5", "5.0"],
  ["1/2", "0.5"],
  ["\\frac{1}{2}", "\\frac12"],
  ["1234", "1,234"],
  ["1,234", "1234"],
  ["1 234 567", "1234567"],
  ["-5", "−5"],
  ["0.5", "50%"],
  ["50\\%", "0.5"],
  ["50\\%", "50"],
  ["1\\frac{4}{5}", "9/5"],
  ["1\\frac{4}{5}", "1 4/5"],
  ["137 \\frac{1}{2}", "137.5"],
  ["0.\\overline{3}", "1/3"],
  ["0.1\\overline{6}", "\\frac16"],
  ["0.333...", "1/3"],
  ["0.(3)", "1/3"],
  ["4.5e33", "4.5 \\times 10^{33}"],
  ["1e-5", "10^{-5}"],
  ["3.0\\times10^8", "300000000"],
  ["6.02 × 10^23", "6.02e23"],
  ["\\sqrt{12}", "2\\sqrt3"],
  ["\\sqrt[3]{-8}", "-2"],
  ["\\frac{1}{\\sqrt{2}}", "\\frac{\\sqrt{2}}{2}"],
  ["2^{10}", "1024"],
  ["5!", "120"],
  ["\\binom{5}{2}", "10"],
  ["\\$18.90", "18.90"],
  ["\\$18.90", "$18.90"],
  ["\\$18.90", "18.9 dollars"],
  ["5.4 \\text{ cents}", "\\$0.054"],
  ["5 \\text{ cm}", "50 mm"],
  ["5 \\text{ cm}", "5"],
  ["5", "5 cm"],
  ["90^\\circ", "90"],
  ["90^\\circ", "\\frac{\\pi}{2}"],
  ["90^\\circ", "90 degrees"],
  ["36 km/h", "10 m/s"],
  ["864 \\mbox{ inches}^2", "864"],
  ["864 \\mbox{ inches}^2", "864 square inches"],
  ["\\{1,2,3\\}", "\\{3,2,1\\}"],
  ["1,2,3", "3, 2, 1"],
  ["1,2", "2 and 1"],
  ["(1,2)", "(1, 2)"],
  ["(1,2)", "1,2"],
  ["x=5", "5"],
  ["5", "x = 5"],
  ["x=5", "5 = x"],
  ["[0,1)", "0 \\le x < 1"],
  ["(2,\\infty)", "x > 2"],
  ["(-\\infty,2)\\cup(3,\\infty)", "x<2 \\text{ or } x>3"],
  ["(-\\infty,2)\\cup(3,\\infty)", "x<2 or x>3"],
  ["\\mathbb{R}", "(-\\infty, \\infty)"],
  ["x \\neq 0", "(-\\infty,0)\\cup(0,\\infty)"],
  ["\\mathbb{R}\\setminus\\{0\\}", "(-\\infty,0)\\cup(0,\\infty)"],
  ["\\{x | x>2\\}", "(2,\\infty)"],
  ["x\\in[-2,7]", "-2\\leq x\\leq 7"],
  ["x \\in [-2,7]", "[-2,7]"],
  ["y = 2x + 3", "2x - y + 3 = 0"],
  ["x^2+y^2=4", "\\frac{x^2}{4}+\\frac{y^2}{4}=1"],
  ["y=2x+3", "2x+3"],
  ["f(x)=2x", "f(t)=2t"],
  ["f(x)=2x", "y=2x"],
  ["\\begin{pmatrix}1\\\\2\\end{pmatrix}", "(1,2)"],
  ["\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{bmatrix}1&2\\\\3&4\\end{bmatrix}"],
  ["\\text{(C)}", "C"],
  ["C", "(C) 12"],
  ["C", "C. foo bar"],
  ["\\text{Evelyn}", "evelyn"],
  ["\\text{even}", "Even"],
  ["\\text{east}", "East."],
  ["(a+5)(b+2)", "ab+2a+5b+10"],
  ["6r^2-4r-24", "2(3r^2-2r-12)"],
  ["\\cot x", "\\frac{\\cos x}{\\sin x}"],
  ["2\\sin b\\cos a", "\\sin(a+b)-\\sin(a-b)"],
  ["1\\pm\\sqrt{19}", "1+\\sqrt{19}, 1-\\sqrt{19}"],
  ["\\{1\\pm\\sqrt5,-2\\}", "-2, 1+\\sqrt5, 1-\\sqrt5"],
  ["52_8", "52_{8}"],
  ["52_8", "52"],
  ["11:21", "11/21"],
  ["6 - 5i", "-5i+6"],
  ["e^{i\\pi}", "-1"],
  ["\\ln 8", "3\\ln 2"],
  ["\\log_2 8", "3"],
  ["\\frac{n(n+1)}{2}", "\\binom{n+1}{2}"],
  ["\\lceil n/2\\rceil+1", "\\lfloor (n+1)/2\\rfloor+1"],
  ["\\frac{100!}{2^{50}}", "100!/2^{50}"],
  ["n!", "n\\cdot(n-1)!"],
  ["2^{1009}", "2\\cdot 2^{1008}"],
  ["\\sum_{k=1}^{n} k", "\\sum_{j=1}^{n} j"],
  ["\\sum_{k=1}^{10} k", "55"],
  ["np.arcsin(10/13)", "\\arcsin(10/13)"],
  ["np.arcsin(10/13)", "\\sin^{-1}(10/13)"],
  ["\\frac{1}{2a}(\\exp{a*t} - \\exp{-a*t})", "\\frac{e^{at}-e^{-at}}{2a}"],
  ["no solution", "\\emptyset"],
  ["three", "3"],
  ["x^{2/3}", "\\sqrt[3]{x^2}"],
  ["3.14159265358979", "\\pi"],
  ["0.333333", "1/3"],
  ["\\frac{2\\pi}{3}", "120^\\circ"],
  ["10,\\!080", "10080"],
  ["14{,}916", "14916"],
  ["(-\\sqrt{11},-2)\\cup (\\sqrt{11},9)", "(\\sqrt{11},9)\\cup(-\\sqrt{11},-2)"],
  ["t=4 \\text{ seconds}", "4"],
  ["\\frac{37}{4} m", "\\frac{37}{4}m"],
  ["1,000", "1000"],
  ["$5", "5"],
  ["12:30", "12:30"],
  ["1/3", "0.\\dot{3}"],
  ["2 1/2", "\\frac{5}{2}"],
  ["x<-3 or x>3", "x>3 or x<-3"],
  ["1.0 × 10⁻³", "0.001"],
  ["½", "0.5"],
  ["\\frac{\\pi}{2}", "π/2"],
  ["√2", "\\sqrt{2}"],
  ["(x-1)^2+(y-2)^2=9", "x^2-2x+y^2-4y-4=0"],
  ["\\tan^{-1}(1)", "\\pi/4"],
  ["3\\text{ and }5", "3, 5"],
  ["4", "four"],
  ["\\text{June 5}", "June 5"],
  ["2\\sqrt{3}\\text{ units}", "2\\sqrt{3}"],
  ["5\\%", "5 percent"],
  ["Yes", "yes."],
  ["a=2, b=3", "(2,3)"],
  ["(2,3)", "x=2,y=3"],
  ["x=2,y=3", "(x,y)=(2,3)"],
  ["\\langle 1,2\\rangle", "(1,2)"],
  ["[1,2,3]", "1,2,3"],
  ["{1,2,3}", "[1, 2, 3]"],
  ["2x+1", "1+x*2"],
  ["\\sqrt{x}", "x^{0.5}"],
  ["|x|", "\\sqrt{x^2}"],
];

const DIFFERENT: [string, string][] = [
  ["12", "1 2"],
  ["(2,4)", "12/5"],
  ["1.5", "15"],
  ["0.05", "5"],
  ["1,2", "12"],
  ["5", "5.001"],
  ["5", "-5"],
  ["1,234", "1.234"],
  ["12", "1,2"],
  ["0.33", "1/3"],
  ["3.14", "\\pi"],
  ["(1,2)", "(2,1)"],
  ["[0,1]", "(0,1)"],
  ["1,2,3", "1,2"],
  ["x>2", "x\\ge2"],
  ["x<2", "x>2"],
  ["5 \\text{ cm}", "5 \\text{ m}"],
  ["5 \\text{ cm}", "5 \\text{ kg}"],
  ["even", "odd"],
  ["A", "B"],
  ["x=5", "y=5"],
  ["x^2", "x^3"],
  ["|x|", "x"],
  ["\\sqrt{x^2}", "x"],
  ["n", "m"],
  ["2x", "x"],
  ["52_8", "42"],
  ["52", "52_8"],
  ["f(x)=2x", "f(x)=3x"],
  ["y=2x", "y=2x+1"],
  ["x+y=1", "x+y=2"],
  ["10^{10^{10}}", "10^{10^{11}}"],
  ["9^{9^{9}}", "9^{9^{9}}+1"],
  ["0.5\\%", "0.5001\\%"],
  ["6", "6m"],
  ["\\frac12", "\\frac13"],
  ["1000001", "1000000"],
  ["12345678901234567890", "12345678901234567891"],
  ["100", "1\\%"],
  ["\\{1,2\\}", "(1,2)"],
  ["\\{1,2\\}", "[1,2]"],
  ["1", "1=2"],
  ["", "5"],
  ["5", ""],
  ["\\emptyset", "0"],
  ["a-b", "b-a"],
  ["a^b", "b^a"],
  ["\\text{Evelyn}", "Evelyne"],
  ["2.0", "2.1"],
  ["1/2", "1/2/3"],
  ["x=1,y=2", "x=2,y=1"],
  ["3:4", "4:3"],
  ["\\sin x", "\\cos x"],
  ["e", "E"],
  ["C", "D. C"],
  ["10", "ten percent"],
  ["2", "two or three"],
  ["-1", "1"],
  ["\\infty", "-\\infty"],
  ["4.12", "\\sqrt{17}"],
];

describe("two answers are equal", () => {
  it.each(EQUAL)("%j is %j", (gold, pred) => {
    expect(grade(gold, pred)).toMatchObject({ equal: true });
    // in a completion, and reversed if one may omit a part of the other
    expect(grade(gold, `Thus $x$ is 3. The answer is \\boxed{${pred}}.`)).toMatchObject({ equal: true });
  });
});

describe("two answers differ", () => {
  it.each(DIFFERENT)("%j is not %j", (gold, pred) => {
    expect(grade(gold, pred)).toMatchObject({ equal: false });
  });
});

describe("plain numbers", () => {
  /** Spellings of one number of thousandths. */
  const spellings = (thousandths: number): string[] => {
    const value = thousandths / 1000;
    const plain = String(value);
    const [whole, fraction] = plain.replace("-", "").split(".");
    const sign = value < 0 ? "-" : "";
    const grouped = (mark: string) =>
      `${sign}${whole.replace(/\B(?=(\d{3})+$)/g, mark)}${fraction ? `.${fraction}` : ""}`;
    const made = [
      plain,
      grouped(","),
      grouped("{,}"),
      grouped(",\\!"),
      `$${plain}$`,
      `\\frac{${thousandths}}{1000}`,
      `${thousandths}/1000`,
    ];
    made.push(
      value.toExponential(),
      `${value.toExponential().replace(/e\+?(-?\d+)$/, " \\times 10^{$1}")}`,
      `x = ${plain}`,
      `${plain} cm`,
    );
    return fraction ? [...made, `${plain}0`] : [...made, `${plain}.0`];
  };

  it("are equal in every spelling, and never to another number", () => {
    const next = lcg(7);
    const random = (n: number) => next() % n;
    const wrong: string[] = [];
    for (let n = 0; n < 600; n++) {
      const a = (random(2) ? 1 : -1) * random(10 ** (1 + random(8)));
      // another number that looks much like it
      const b = [
        a + 1,
        -a || 1,
        a * 10 || 1,
        a * 1000 || 1,
        a + 1000,
        Number(String(a).split("").reverse().join("").replace("-", "")) + 1,
      ][random(6)];
      const [own, same, other] = [spellings(a), spellings(a), spellings(b)];
      const [x, y, z] = [own[random(own.length)], same[random(same.length)], other[random(other.length)]];
      if (!grade(x, y).equal) wrong.push(`${x} is ${y}`);
      if (a !== b && grade(x, z).equal) wrong.push(`${x} is not ${z}`);
    }
    expect(wrong).toEqual([]);
  });
});

describe("how strict a comparison is", () => {
  it("accepts a rounded decimal from six digits on, or from the requested number", () => {
    expect(mathsEqual("1/3", "0.333333")).toBe(true);
    expect(mathsEqual("1/3", "0.33333")).toBe(false);
    expect(mathsEqual("1/3", "0.33", { precision: 2 })).toBe(true);
    expect(mathsEqual("1/3", "0.34", { precision: 2 })).toBe(false);
    expect(mathsEqual("0.000001", "0.0000014")).toBe(false);
    expect(mathsEqual("3.141592", "3.14159265")).toBe(true);
    expect(mathsEqual("3.141592", "3.141593")).toBe(false);
    expect(mathsEqual("1000000", "1000000.4")).toBe(false);
  });

  it("allows a relative error on request", () => {
    expect(mathsEqual("4.5e33", "4.5001e33")).toBe(false);
    expect(mathsEqual("4.5e33", "4.5001e33", { tolerance: 1e-4 })).toBe(true);
    expect(mathsEqual("\\sqrt{2}", "1.4143", { tolerance: 1e-4 })).toBe(true);
    expect(mathsEqual("\\sqrt{2}", "1.4145", { tolerance: 1e-4 })).toBe(false);
  });
});

describe("reading", () => {
  it.each([
    ["2x^2y", "product(2/1,power(x,2/1),y)"],
    ["-x^2", "negative(power(x,2/1))"],
    ["\\frac12", "quotient(1/1,2/1)"],
    ["\\sin^2 2x", "power(sin(product(2/1,x)),2/1)"],
    ["\\sin b \\cos a", "product(cos(a),sin(b))"],
    ["n(n-1)", "product(n,sum(n,negative(1/1)))"],
    ["f(x)", "f(x)"],
    ["|x|y|z|", "product(abs(x),abs(z),y)"],
    ["[0,1)", "[0/1,1/1)"],
    ["1,234", "1234/1"],
    ["(1,234)", "tuple(1/1,234/1)"],
    ["x = 5 \\approx 5.0", "relation =(x,5/1)"],
    ["2x + 1 = 5 \\Rightarrow x = 2", "relation =(x,2/1)"],
    ["5 \\text{ cm}", "5/1 cm"],
    ["x_1", "x_1"],
    ["\\{x \\mid x > 2\\}", "relation >(x,2/1)"],
  ])("%j gives %s", (text, key) => {
    expect(keyOf(parseAnswer(text)!)).toBe(key);
  });

  it.each([
    "",
    "1 2",
    "(1",
    "x +",
    "\\frac{1}",
    "\\int x dx",
    "5 = ",
    "\\begin{pmatrix} 1 & 2 \\\\ 3 \\end{pmatrix}",
    "(0,1,2]",
  ])("%j is not mathematics", (text) => {
    expect(parseAnswer(text)).toBeNull();
  });
});

describe("time", () => {
  it("is fast on texts that are designed to be slow", () => {
    const slow: string[] = [];
    for (const text of HOSTILE) {
      for (const [gold, pred] of [
        [text, `${text}+1`],
        ["1", text],
        [text, "1"],
      ]) {
        const spent = cpuTime();
        grade(gold, pred);
        const seconds = spent();
        // far above the normal time, far below a hang
        if (seconds > 3) slow.push(`${seconds.toFixed(1)} s: ${text.slice(0, 40)}`);
      }
    }
    expect(slow).toEqual([]);
  });

  it("ends on 5 000 random pairs, without an exception", () => {
    const next = randomAnswers(5);
    let last = "";
    let equal = 0;
    for (let n = 0; n < 5000; n++) {
      const text = next();
      if (grade(n % 3 === 0 ? text : last, text).equal) equal++;
      last = text;
    }
    // a third is graded against itself; of these, empty ones and those without an answer differ
    expect(equal).toBeGreaterThan(1000);
    expect(equal).toBeLessThan(2200);
  });
});
