import { describe, expect, it } from "vitest";
import { gradeRows } from "../../../src/cli/commands/grade.ts";
import { equalAnswers } from "../../../src/rewards/maths/equal.ts";
import { Budget } from "../../../src/rewards/maths/evaluate.ts";
import { type Expression, mapChildren } from "../../../src/rewards/maths/expression.ts";
import { grade } from "../../../src/rewards/maths/grade.ts";
import { parseAnswer } from "../../../src/rewards/maths/parse.ts";
import { ONE, rational } from "../../../src/rewards/maths/rational.ts";
import { cpuTime } from "../../cpu-time.ts";
import { sharedRows } from "./shared-rows.ts";

// Public data beside the repository; where it is absent a warning says so, and a row of the same form stands for it.

type Row = Record<string, unknown>;
const text = (value: unknown) => (Array.isArray(value) ? value.join(", ") : String(value));

/** Share of the rows whose answer is found equal to itself: bare, in a box, and behind "the answer is". */
function selfGraded(rows: readonly Row[], gold: (row: Row) => string, answer: (row: Row) => string) {
  const forms: ((answer: string) => string)[] = [
    (own) => own,
    (own) => `First $x=3$ and \\[y = 7\\]. Thus the result is $\\boxed{${own}}$.`,
    (own) => `We add 3 and 4.\nThe final answer is $${own.replace(/(?<!\\)\$/g, "")}$.`,
  ];
  return forms.map((form) => rows.filter((row) => grade(gold(row), form(answer(row))).equal).length / rows.length);
}

describe("gold answers graded against themselves", () => {
  const hash = (row: Row) => text(row.answer).split("####")[1].trim();
  it.each([
    ["gsm8k/test.jsonl", 1, { answer: "so\n#### 1,000" }, (r: Row) => text(r.answer), hash],
    ["gsm8k/train.jsonl", 1, { answer: "so\n#### 1,000" }, (r: Row) => text(r.answer), hash],
    ["aime/test2024.jsonl", 1, { answer: "073" }, (r: Row) => text(r.answer), (r: Row) => text(r.answer)],
    ["aime/test2025-I.jsonl", 1, { answer: "70" }, (r: Row) => text(r.answer), (r: Row) => text(r.answer)],
    ["aime/test2025-II.jsonl", 1, { answer: "468" }, (r: Row) => text(r.answer), (r: Row) => text(r.answer)],
    ["amc23/test.jsonl", 1, { answer: 27 }, (r: Row) => text(r.answer), (r: Row) => text(r.answer)],
    [
      "math500/test.jsonl",
      1,
      { solution: "\\boxed{p-q}", answer: "p - q" },
      (r: Row) => text(r.solution),
      (r: Row) => text(r.answer),
    ],
    [
      "minerva_math/test.jsonl",
      0.97,
      { solution: "\\boxed{4.5e33} erg" },
      (r: Row) => text(r.solution),
      (r: Row) => grade(text(r.solution), "0").gold,
    ],
    [
      "olympiadbench/test.jsonl",
      0.97,
      { final_answer: ["$2n-2$"] },
      (r: Row) => text(r.final_answer),
      (r: Row) => text(r.final_answer),
    ],
  ])("%s: at least %d", (file, least, standIn, gold, answer) => {
    const rows = sharedRows(file) ?? [standIn];
    const shares = selfGraded(rows, gold, answer);
    console.log(`${file}: ${rows.length} rows, ${shares.map((share) => `${(100 * share).toFixed(2)} %`).join(", ")}`);
    for (const share of shares) expect(share).toBeGreaterThanOrEqual(least);
  });
});

/** The same mathematics in other symbols: every number n as (n − 1) + 1. No comparison of texts can see that it is the same. */
function rewritten(e: Expression): Expression {
  if (e.kind === "symbol") return e;
  if (e.kind !== "number" || e.base !== null) return mapChildren(e, rewritten);
  const { num, den } = e.value;
  const number = (value: typeof ONE): Expression => ({ kind: "number", value, decimals: null, base: null });
  return { kind: "sum", terms: [number(rational(num - den, den)!), number(ONE)] };
}

describe("gold answers are read as mathematics, not as text", () => {
  it.each([
    ["math500/test.jsonl", 1, (row: Row) => text(row.answer), "p - 2q"],
    ["minerva_math/test.jsonl", 1, (row: Row) => grade(text(row.solution), "0").gold, "\\boxed{4.5e33} erg"],
    ["olympiadbench/test.jsonl", 0.99, (row: Row) => text(row.final_answer), "$2n-2$"],
  ])("%s, rewritten: at least %d", (file, least, answer, standIn) => {
    const rows = sharedRows(file) ?? [{ answer: standIn, solution: standIn, final_answer: standIn }];
    const same = rows.filter((row) => {
      const read = parseAnswer(answer(row).replace(/(?<!\\)\$/g, ""));
      const comparison = { budget: new Budget(), precision: 6, tolerance: null };
      return read !== null && equalAnswers(read, rewritten(read), comparison);
    });
    console.log(`${file}: ${same.length} of ${rows.length} rewritten answers are equal`);
    expect(same.length / rows.length).toBeGreaterThanOrEqual(least);
  });
});

describe("the table of answers", () => {
  it("is agreed with in 97 % of its rows, and no plain number is wrongly equal", async () => {
    const rows = sharedRows("grading/answer_equality.jsonl") ?? [{ gold: "1/2", pred: "0.5", expected: true }];
    const numbered = async function* () {
      for (const [i, row] of rows.entries()) yield { row, number: i + 1, file: "answer_equality.jsonl" };
    };
    const report = await gradeRows(numbered(), {});
    console.log(`${report.agreed} of ${report.compared} rows agree`);
    expect(report.agreement).toBeGreaterThanOrEqual(0.97);
    expect(report.false_positives_of_numbers).toBe(0);
  });
});

describe("MATH-500", () => {
  it("grades 10 000 pairs of its answers in under 60 s of processor time, and only spellings of one answer are equal", () => {
    const answers = (sharedRows("math500/test.jsonl") ?? [{ answer: "p - q" }, { answer: "\\frac{14}{3}" }]).map(
      (row) => text(row.answer),
    );
    const spent = cpuTime();
    const equal = new Set<string>();
    const wrong: string[] = [];
    for (let n = 0; n < 10_000; n++) {
      const a = answers[n % answers.length];
      // first each against itself, then against the next but 1, 2, 3, …
      const b = answers[(n + Math.floor(n / answers.length)) % answers.length];
      const same = grade(a, b).equal;
      if (a === b && !same) wrong.push(a);
      if (a !== b && same) equal.add(`${a} = ${b}`);
    }
    const seconds = spent();
    console.log(`${seconds.toFixed(1)} s; equal: ${[...equal].join("; ")}`);
    expect(wrong).toEqual([]);
    expect(equal.size).toBeLessThan(20);
    expect(seconds).toBeLessThan(60);
  });
});
