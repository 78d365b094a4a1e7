import { afterAll, expect, test } from "vitest";
import { HACKS } from "../../../scripts/attack/hacks.ts";
import { openCodePool } from "../../../src/cli/sources/code.ts";
import { outcomeOf } from "../../../src/rewards/code/outcome.ts";

const pool = openCodePool({ test_seconds: 20, total_seconds: 60 }, 1);
afterAll(() => pool.end());

test.each(HACKS.filter((_, i) => i % 6 !== 0))("does not pass: $name", async ({ task }) => {
  expect(outcomeOf(await pool.run(task))).not.toBe("passed");
});
