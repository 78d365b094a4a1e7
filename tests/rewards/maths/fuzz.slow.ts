import { expect, test } from "vitest";
import { grade } from "../../../src/rewards/maths/grade.ts";
import { randomAnswers } from "./random-answers.ts";

test("100 000 random pairs end quickly, without an exception", () => {
  const next = randomAnswers(100);
  let last = "";
  let worst = { ms: 0, gold: "", pred: "" };
  const started = performance.now();
  for (let n = 0; n < 100_000; n++) {
    const pred = next();
    const gold = n % 3 === 0 ? pred : last;
    const before = performance.now();
    grade(gold, pred);
    const ms = performance.now() - before;
    if (ms > worst.ms) worst = { ms, gold, pred };
    last = pred;
  }
  console.log(`${((performance.now() - started) / 1000).toFixed(1)} s; the longest took ${worst.ms.toFixed(0)} ms`);
  expect(worst.ms, JSON.stringify(worst)).toBeLessThan(2000);
});
