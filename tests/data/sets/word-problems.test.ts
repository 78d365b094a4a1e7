import { describe, expect, it } from "vitest";
import {
  drawFrom,
  guess,
  outcome,
  WORD_PROBLEM_KINDS,
  wordProblems,
  xmlCompletion,
} from "../../../src/data/sets/word-problems.ts";
import { extractXmlAnswer, goldAnswer } from "../../../src/rewards/answers.ts";

const content = ({ kind, numbers }: { kind: string; numbers: number[] }) => `${kind} ${numbers.join(" ")}`;

describe("word problems", () => {
  const train = wordProblems({ seed: 1, count: 20_000, split: "train" });
  const test = wordProblems({ seed: 1, count: 2_000, split: "test" });

  it("depend only on the seed, and a longer list begins with a shorter one", () => {
    expect(wordProblems({ seed: 1, count: 50, split: "train" })).toEqual(train.slice(0, 50));
    expect(wordProblems({ seed: 2, count: 50, split: "train" })).not.toEqual(train.slice(0, 50));
  });

  it("put no content on both sides, for any seeds", () => {
    const seen = new Set(train.map(content));
    expect(wordProblems({ seed: 9, count: 2_000, split: "test" }).filter((p) => seen.has(content(p)))).toEqual([]);
    expect(test.filter((problem) => seen.has(content(problem)))).toEqual([]);
  });

  it("cover every kind on both sides, with whole numbers from 1 to 99", () => {
    for (const list of [train, test]) {
      expect(new Set(list.map(({ kind }) => kind))).toEqual(new Set(WORD_PROBLEM_KINDS));
      for (const { numbers, steps, result } of list) {
        for (const n of [...numbers, ...steps.flatMap((step) => [step.a, step.b, outcome(step)]), result]) {
          expect(Number.isInteger(n) && n >= 1 && n <= 99, String(n)).toBe(true);
        }
      }
    }
  });

  it("work each answer from the question's own numbers, in GSM8K's form", () => {
    for (const problem of test) {
      const { question, answer, numbers, steps, result } = problem;
      for (const n of numbers) expect(question.split(/\D+/), question).toContain(String(n));
      const lines = answer.split("\n");
      expect(lines.at(-1)).toBe(`#### ${result}`);
      expect(goldAnswer({ answer })).toBe(String(result));
      expect(lines).toHaveLength(steps.length + 1);
      const known = new Set(numbers);
      for (const line of lines.slice(0, -1)) {
        const [, a, op, b, c] = /^(\d+)([-+*/])(\d+)=(\d+)$/.exec(line)!;
        expect(known.has(+a) && known.has(+b), answer).toBe(true);
        expect({ "+": +a + +b, "-": +a - +b, "*": +a * +b, "/": +a / +b }[op]).toBe(+c);
        known.add(+c);
      }
      expect(outcome(steps.at(-1)!)).toBe(result);
    }
  });

  it("guess right only sometimes", () => {
    const draw = drawFrom(1, 0);
    const right = train.filter((problem) => guess(problem, draw) === problem.result).length / train.length;
    expect(right).toBeGreaterThan(0.01);
    expect(right).toBeLessThan(0.1);
  });

  it("answer between tags", () => {
    expect(extractXmlAnswer(xmlCompletion("5*7=35", 35))).toBe("35");
  });

  it("refuse an invalid count", () => {
    expect(() => wordProblems({ seed: 1, count: -1, split: "test" })).toThrow("count must be a whole number");
  });
});
