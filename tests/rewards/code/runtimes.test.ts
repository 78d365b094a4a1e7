import { fileURLToPath } from "node:url";
import { build, type Rolldown } from "vite";
import { expect, test } from "vitest";
import { pythonFiles, textThread } from "../../../src/platform/node/code-thread.ts";
import { CodePool } from "../../../src/rewards/code/pool.ts";
import type { SandboxReply, SandboxRequest } from "../../../src/rewards/code/sandbox-types.ts";
import { PATIENCE, SOLVED, TESTED } from "./pools.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));

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
