import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { build, type Rolldown } from "vite";
import { expect, test } from "vitest";
import { pythonFiles, textThread } from "../../../src/platform/node/code-thread.ts";
import { CodePool } from "../../../src/rewards/code/pool.ts";
import type { SandboxReply, SandboxRequest } from "../../../src/rewards/code/sandbox-types.ts";

/** Seconds for a program that ends by itself: only a hang reaches them. */
const PATIENCE = 120;
const root = fileURLToPath(new URL("../../..", import.meta.url));
const ENDLESS = "while True: pass";
const PROGRAMS = ["print(input())", ENDLESS, "import os\nos.abort()", "x = 'a' * 2**30", "import js", "print(input())"];
const TESTED = { kind: "assert", code: "assert f(abs, [1, -2]) == [1, 2]" } as const;
const SOLVED = "def f(g, xs): return [g(x) for x in xs]";
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

test("the sandbox's text is a complete program also in a minified bundle", async () => {
  const { output } = (await build({
    configFile: false,
    root,
    logLevel: "warn",
    build: {
      write: false,
      minify: true,
      target: "es2023",
      lib: { entry: "src/rewards/code/sandbox.ts", formats: ["es"] },
    },
  }).then((built) => [built].flat()[0])) as Rolldown.RolldownOutput;
  const { sandboxProgram } = await import(
    /* @vite-ignore */ `data:text/javascript,${encodeURIComponent(output[0].code)}`
  );
  const program = sandboxProgram();
  expect(program.length).toBeLessThan(14_000);
  const thread = () => textThread<SandboxRequest, SandboxReply>(program);
  const pool = new CodePool({ files: pythonFiles, thread, threads: 1 }, { test_seconds: PATIENCE });
  const outcomes: string[] = [];
  for (const code of ["print(input())", "import js", "print(input())"])
    outcomes.push((await pool.run({ code, tests: [{ kind: "stdin", input: "1", output: "1" }] }))[0].outcome);
  outcomes.push((await pool.run({ code: SOLVED, tests: [TESTED] }))[0].outcome);
  await pool.end();
  expect(outcomes).toEqual(["passed", "runtime_error", "passed", "passed"]);
});
