import { describe, expect, it } from "vitest";
import { gradeRows } from "../../../src/cli/commands/grade.ts";
import { equalAnswers } from "../../../src/rewards/maths/equal.ts";
import { Budget } from "../../../src/rewards/maths/evaluate.ts";
import { type Expression, mapChildren } from "../../../src/rewards/maths/expression.ts";
import { grade } from "../../../src/rewards/maths/grade.ts";
import { parseAnswer } from "../../../src/rewards/maths/parse.ts";
import { ONE, rational } from "../../../src/rewards/maths/rational.ts";
import { cpuTime } from "../../cpu-time.ts";
import { sharedRows } from "../../shared.ts";

// Public data outside the repository: tests that need it are skipped without it.

type Row = Record<string, unknown>;
const text = (value: unknown) => (Array.isArray(value) ? value.join(", ") : String(value));

/** Share of the rows whose answer equals itself: bare, in a box, and after "the answer is". */
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
  const SETS: readonly [string, number, (r: Row) => string, (r: Row) => string][] = [
    ["gsm8k/test.jsonl", 1, (r: Row) => text(r.answer), hash],
    ["gsm8k/train.jsonl", 1, (r: Row) => text(r.answer), hash],
    ["aime/test2024.jsonl", 1, (r: Row) => text(r.answer), (r: Row) => text(r.answer)],
    ["aime/test2025-I.jsonl", 1, (r: Row) => text(r.answer), (r: Row) => text(r.answer)],
    ["aime/test2025-II.jsonl", 1, (r: Row) => text(r.answer), (r: Row) => text(r.answer)],
    ["amc23/test.jsonl", 1, (r: Row) => text(r.answer), (r: Row) => text(r.answer)],
    ["math500/test.jsonl", 1, (r: Row) => text(r.solution), (r: Row) => text(r.answer)],
    ["minerva_math/test.jsonl", 0.97, (r: Row) => text(r.solution), (r: Row) => grade(text(r.solution), "0").gold],
    ["olympiadbench/test.jsonl", 0.97, (r: Row) => text(r.final_answer), (r: Row) => text(r.final_answer)],
  ];
  for (const [file, least, gold, answer] of SETS) {
    const rows = sharedRows(`data/${file}`);
    it.skipIf(!rows)(`${file}: at least ${least}`, () => {
      for (const share of selfGraded(rows!, gold, answer)) expect(share).toBeGreaterThanOrEqual(least);
    });
  }
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
  const SETS: readonly [string, number, (row: Row) => string][] = [
    ["math500/test.jsonl", 1, (row) => text(row.answer)],
    ["minerva_math/test.jsonl", 1, (row) => grade(text(row.solution), "0").gold],
    ["olympiadbench/test.jsonl", 0.99, (row) => text(row.final_answer)],
  ];
  for (const [file, least, answer] of SETS) {
    const rows = sharedRows(`data/${file}`);
    it.skipIf(!rows)(`${file}, rewritten: at least ${least}`, () => {
      const same = rows!.filter((row) => {
        const read = parseAnswer(answer(row).replace(/(?<!\\)\$/g, ""));
        const comparison = { budget: new Budget(), precision: 6, tolerance: null };
        return read !== null && equalAnswers(read, rewritten(read), comparison);
      });
      expect(same.length / rows!.length).toBeGreaterThanOrEqual(least);
    });
  }
});

describe("the table of answers", () => {
  const rows = sharedRows("data/grading/answer_equality.jsonl");
  it.skipIf(!rows)("agrees in 97 % of its rows, and no plain number is wrongly equal", async () => {
    const numbered = async function* () {
      for (const [i, row] of rows!.entries()) yield { row, number: i + 1, file: "answer_equality.jsonl" };
    };
    const report = await gradeRows(numbered(), {});
    expect(report.agreement).toBeGreaterThanOrEqual(0.97);
    expect(report.false_positives_of_numbers).toBe(0);
  });
});

describe("MATH-500", () => {
  const rows = sharedRows("data/math500/test.jsonl");
  it.skipIf(!rows)(
    "grades 10 000 pairs of its answers in under 60 s of processor time, and only spellings of one are equal",
    () => {
      const answers = rows!.map((row) => text(row.answer));
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
      expect(wrong).toEqual([]);
      expect(equal.size).toBeLessThan(20);
      expect(seconds).toBeLessThan(60);
    },
  );
});
