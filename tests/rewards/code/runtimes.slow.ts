import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { PATIENCE, SOLVED, TESTED } from "./pools.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const ENDLESS = "while True: pass";
const PROGRAMS = ["print(input())", ENDLESS, "import os\nos.abort()", "x = 'a' * 2**30", "import js", "print(input())"];
const OUTCOMES = ["passed", "timeout", "runtime_error", "out_of_memory", "runtime_error", "passed"];

test("Deno runs the same programs with the same outcomes, and ends", () => {
  const deno = createRequire(import.meta.url).resolve("deno/bin.cjs");
  const program = `
import { openCodePool } from ${JSON.stringify(new URL("../../../src/cli/sources/code.ts", import.meta.url).href)};
const pool = openCodePool({ test_seconds: ${PATIENCE} }, 1);
const hurried = openCodePool({ test_seconds: 1 }, 1);
const tests = [{ kind: "stdin", input: "1", output: "1" }];
const outcomes = [];
for (const code of ${JSON.stringify(PROGRAMS)}) {
  const used = code === ${JSON.stringify(ENDLESS)} ? hurried : pool;
  outcomes.push((await used.run({ code, tests }))[0].outcome);
}
outcomes.push((await pool.run({ code: ${JSON.stringify(SOLVED)}, tests: [${JSON.stringify(TESTED)}] }))[0].outcome);
await pool.end();
await hurried.end();
console.log(JSON.stringify(outcomes));
`;
  const argv = [deno, "run", "--no-check", "-A", "--ext=ts", "-"];
  const { stdout, stderr } = spawnSync(process.execPath, argv, {
    cwd: root,
    input: program,
    encoding: "utf8",
    timeout: 600_000,
  });
  expect(stdout, stderr).toContain(JSON.stringify([...OUTCOMES, "passed"]));
});
