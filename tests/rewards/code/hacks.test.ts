import { afterAll, describe, expect, test } from "vitest";
import { HACKS } from "../../../scripts/attack/hacks.ts";
import { HONEST } from "../../../scripts/attack/honest.ts";
import { openCodePool } from "../../../src/cli/sources/code.ts";
import { outcomeOf, resultOf } from "../../../src/rewards/code/outcome.ts";
import type { CodeTest } from "../../../src/rewards/code/tests.ts";

const pool = openCodePool({ test_seconds: 20, total_seconds: 60 }, 1);
afterAll(() => pool.end());

// the others: hacks.slow.ts
test.each(HACKS.filter((_, i) => i % 6 === 0))("does not pass: $name", async ({ task }) => {
  expect(outcomeOf(await pool.run(task))).not.toBe("passed");
});

test.each(HONEST)("passes: $name", async ({ task }) => {
  const results = await pool.run(task);
  expect(results.map(({ message }) => message)).toEqual(task.tests.map(() => null));
});

describe("output of the sandbox may be anything", () => {
  const call: CodeTest = { kind: "call", name: "f", args: "[]", expected: ["4"] };
  const done = (value: unknown, more = {}) => JSON.stringify({ stage: "done", error: null, value, ...more });
  const report = { ms: 1, answer: done(null), verdict: null, crash: null, stdout: "", overflow: false, starved: false };
  const limits = { output_bytes: 2 ** 23 };
  const error = { type: "E", message: "", line: 1, memory: false, assertion: false, exit: null };
  test.each<unknown>([
    "",
    "null",
    "[]",
    "4",
    "{",
    '{"stage": "done"}',
    '{"stage": "won", "error": null, "value": null}',
    done({ int: "zz" }),
    done({ int: "" }),
    done({ int: "0x" }),
    done({ int: 4 }),
    done({ float: "0x4" }),
    done({ float: [] }),
    done({ dict: [["a"]] }),
    done({ dict: [[{ int: "0x1" }, null]] }),
    done({ dict: {} }),
    done({}),
    done({ int: "0x4", float: "4" }),
    done([[[{ int: "4n" }]]]),
    done(4),
    done(null, { error: 3 }),
    done(null, { error: { ...error, line: "1" } }),
    done(null, { error: { ...error, exit: 1.5 } }),
    done(null, { error: { ...error, type: null } }),
    done(null, { error: { ...error, message: {} } }),
    done(null, { secret: 1 }),
    `{"stage": "done", "error": null, "value": ${"[".repeat(1e5)}${"]".repeat(1e5)}}`,
    7,
    {},
  ])("%j is an error of its run alone", (answer) => {
    const { outcome } = resultOf(call, { ...report, answer: answer as string }, limits);
    expect(["runtime_error", "wrong_answer"]).toContain(outcome);
    if (typeof answer !== "string" || !answer.includes("[[[[[")) expect(outcome).toBe("runtime_error");
  });

  test("a verdict needs the secret of its run", () => {
    const assert: CodeTest = { kind: "assert", code: "" };
    const outcome = (verdict: string | null, secret: string | null) =>
      resultOf(assert, { ...report, verdict }, limits, secret).outcome;
    expect(outcome(done(null, { secret: "a1" }), "a1")).toBe("passed");
    expect(outcome(done(null, { secret: "a2" }), "a1")).toBe("runtime_error");
    expect(outcome(done(null), "a1")).toBe("runtime_error");
    expect(outcome(done(null, { stage: "program", secret: "a1" }), "a1")).toBe("runtime_error");
    expect(outcome(null, "a1")).toBe("runtime_error");
    expect(outcome(done(null), null)).toBe("runtime_error");
  });
});
