import { afterAll, expect } from "vitest";
import { openCodePool } from "../../../src/cli/sources/code.ts";
import type { CodeOutcome } from "../../../src/rewards/code/outcome.ts";
import type { CodeExecutor } from "../../../src/rewards/code/pool.ts";
import type { CodeTest } from "../../../src/rewards/code/tests.ts";

/** Python that finds modules again that the sandbox hides. */
export const UNHIDE = "import sys\nsys.meta_path.pop(0)\n";

/** Seconds for a program that ends by itself: only a hang reaches them. */
export const PATIENCE = 120;

/** A function with its test, which passes. */
export const SOLVED = "def f(g, xs): return [g(x) for x in xs]";
export const TESTED = { kind: "assert", code: "assert f(abs, [1, -2]) == [1, 2]" } as const;

/** A program that ends must not time out on a slow machine. */
export const LIMITS = { test_seconds: PATIENCE, total_seconds: 600, memory_mb: 256, output_mb: 4 };

export const printing = (output: string, input = ""): CodeTest => ({ kind: "stdin", input, output });

/** Pools of one thread, ended after the file's tests: `hurried` is for endless programs. Call at the top of the file. */
export function usePools() {
  const pool = openCodePool(LIMITS, 1);
  const hurried = openCodePool({ ...LIMITS, test_seconds: 1 }, 1);
  afterAll(async () => {
    await pool.end();
    await hurried.end();
  });
  const outcomes = async (code: string, ...tests: CodeTest[]): Promise<CodeOutcome[]> =>
    (await pool.run({ code, tests })).map(({ outcome }) => outcome);
  /** A program's output, from the message of a failed test. */
  const printed = async (code: string): Promise<string> => {
    const [{ outcome, message }] = await pool.run({ code: `${code}\n`, tests: [printing("nothing of the kind")] });
    return `${outcome}: ${message}`;
  };
  return { pool, hurried, outcomes, printed };
}

/** Runs a malicious program, then another one. */
export async function endsAlone(
  { pool, hurried }: Record<"pool" | "hurried", CodeExecutor>,
  outcome: CodeOutcome,
  code: string,
): Promise<void> {
  const used = outcome === "timeout" ? hurried : pool;
  const results = await used.run({ code, tests: [printing("never printed")] });
  expect(results, JSON.stringify(results)).toMatchObject([{ outcome }]);
  // a busy machine can need more than the second
  const next = async () => (await used.run({ code: "print(1)", tests: [printing("1")] }))[0].outcome;
  await expect.poll(next).toBe("passed");
}
