import { afterAll, describe, expect, test } from "vitest";
import { openCodePool } from "../../../src/cli/sources/code.ts";
import { outcomeOf, type TestResult } from "../../../src/rewards/code/outcome.ts";
import { humanEval, mbpp, type Problem, sample } from "./problems.ts";

const pool = openCodePool();
afterAll(() => pool.end());

/** Runs a program of each problem. @returns messages about problems for which `odd` is true */
async function runAll(
  name: string,
  problems: Problem[],
  which: "solved" | "mutated",
  odd: (results: TestResult[]) => boolean,
) {
  const start = performance.now();
  const results = await Promise.all(problems.map((problem) => pool.run(problem[which])));
  const seconds = (performance.now() - start) / 1000;
  const counts: Record<string, number> = {};
  for (const own of results) counts[outcomeOf(own)] = (counts[outcomeOf(own)] ?? 0) + 1;
  const inside = results.flat().reduce((sum, { ms }) => sum + ms, 0) / 1000;
  console.log(
    `${name}, ${which}: ${problems.length} programs, ${results.flat().length} tests in ${seconds.toFixed(1)} s ` +
      `(${inside.toFixed(1)} s in Python): ${JSON.stringify(counts)}`,
  );
  return problems.flatMap(({ id }, i) =>
    odd(results[i]) ? `${id}: ${results[i].map((r) => `${r.outcome} ${r.message}`).join("; ")}` : [],
  );
}

const failed = (results: TestResult[]) => outcomeOf(results) !== "passed";
const passed = (results: TestResult[]) => outcomeOf(results) === "passed"; // one test of MBPP/546 expects None

describe("HumanEval", () => {
  const problems = humanEval();
  test.skipIf(!problems)(
    "all 164 canonical solutions pass; those that return None fail",
    async () => {
      expect(problems).toHaveLength(164);
      expect(await runAll("HumanEval", problems!, "solved", failed)).toEqual([]);
      expect(await runAll("HumanEval", problems!, "mutated", passed)).toEqual([]);
    },
    1_800_000,
  );
});

describe("MBPP", () => {
  const picked = sample(300, 974);
  const problems = mbpp((index) => picked.has(index));
  test.skipIf(!problems)(
    "300 sampled canonical solutions pass; those that return None fail",
    async () => {
      expect(problems).toHaveLength(300);
      expect(await runAll("MBPP", problems!, "solved", failed)).toEqual([]);
      expect(await runAll("MBPP", problems!, "mutated", passed)).toEqual([]);
    },
    1_800_000,
  );
});
