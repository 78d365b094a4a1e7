import { lcg } from "../../../src/text/hash.ts";

// Texts that a grader must survive: pieces of LaTeX, characters of every kind, damaged answers.

const PIECES = (
  "\\frac { } ( ) [ ] ^ _ ! \\sqrt 1 2 9 12 x y n e i \\pi + - * / , ; . = < > \\le \\cup \\{ \\} | \\sum_{k=1}^{ \\binom & " +
  "\\begin{pmatrix} \\end{pmatrix} \\\\ \\text{ and or $ \\( \\) \\boxed{ % \\% ^\\circ cm \\infty \\pm \\left( \\right) \\sin \\log_ " +
  "#### <answer> </answer> 0. e9 999999 \\overline{ ' sqrt( \\lfloor \\rfloor \\ln ^{ 9^{9^ !!! \\gcd( \\prod_{k=1}^{99}"
)
  .split(" ")
  .concat(" ", "\n", "answer is ");
const ANSWERS = (
  "\\frac{14}{3}; 90^\\circ; 3\\sqrt{13}; 1 \\pm \\sqrt{19}; \\{1\\pm\\sqrt5,-2\\}; 137 \\frac{1}{2}; (2,12) \\cup (12,102); x \\in [-2,7]; " +
  "15\\mbox{ cm}^2; \\begin{pmatrix} 1/5 \\\\ -18/5 \\end{pmatrix}; y = 2x + 3; x^5 - x^4 + 1; \\$32,\\!348; 4210_{5}; \\text{(C)}; 1,234.5; 0.\\overline{3}; " +
  "\\frac{100!}{2^{50}}; \\lfloor n/2 \\rfloor + 1; f(x)=2x; e^{2it}/(2+2i); 4.5e33; \\sum_{k=0}^{n} \\binom{n}{k}"
).split("; ");

/** A generator of texts that depends only on the seed. */
export function randomAnswers(seed: number): () => string {
  const next = lcg(seed);
  const random = () => next() / 0x100000000;
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)];
  const soup = () => Array.from({ length: random() * random() * 60 }, () => pick(PIECES)).join("");
  const characters = () =>
    Array.from({ length: random() * 80 }, () =>
      String.fromCharCode(random() < 0.9 ? 32 + random() * 95 : random() * 0xffff),
    ).join("");
  const damaged = () => {
    let text = pick(ANSWERS);
    for (let n = 0; n < 1 + random() * 4; n++) {
      const at = Math.floor(random() * (text.length + 1));
      text =
        random() < 0.5 ? text.slice(0, at) + pick(PIECES) + text.slice(at) : text.slice(0, at) + text.slice(at + 2);
    }
    return text;
  };
  return () => pick([soup, characters, damaged])();
}

/** Texts that are designed to use endless time, all memory, or the whole stack. */
export const HOSTILE: readonly string[] = [
  "9^{9^{9^{9^9}}}",
  "10000000!",
  "((9!)!)!",
  "2^{100000000}",
  "\\binom{10000000}{5000000}",
  "\\binom{5000}{2500}^{100}",
  "\\sum_{k=1}^{100000000} \\frac{1}{k}",
  "\\sum_{a=1}^{199}\\sum_{b=1}^{199}\\sum_{c=1}^{199}\\sum_{d=1}^{199} abcd",
  "\\prod_{k=1}^{200} k^{k^{k}}",
  "(x+y+z)^{400}",
  "1e99999",
  "\\sqrt[64]{2^{8190}-1}",
  "\\gcd(2^{8000},3^{5000})",
  "e^{e^{e^{e^{e}}}}",
  ...(
    [
      ["9", 3000],
      ["(", 3000],
      ["{", 1000],
      ["\\{", 900],
      ["[1,", 500],
      ["|", 2900],
      ["\\frac{1", 500],
      ["-", 2900],
      ["x+", 1400],
      ["1,", 1000],
      ["x^", 900],
      ["\\sin ", 900],
      ["\\left(", 700],
      ["f(", 900],
      ["x<", 900],
      ["=1", 800],
      ["1/", 700],
      ["\\pm 1", 80],
      ["1:", 900],
      ["\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", 60],
      ["\\text{", 500],
      ["\\boxed{", 20000],
      ["\\boxed{1},", 2000],
      ["$", 10000],
      ["\\(", 50000],
      ["answer is ", 10000],
      ["a ", 50000],
      ["1 000 ", 10000],
      ["1,000,", 10000],
      ["####", 5000],
      ["<answer>", 5000],
      [". ", 20000],
    ] as const
  ).map(([piece, times]) => `${piece.repeat(times)}1`),
  `<answer>${"\\(".repeat(60000)}</answer>`,
];
