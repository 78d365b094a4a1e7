// Runs Python in workers of the page's, and keeps what came of it.
import { browserPythonFiles } from "../../../src/platform/browser/code.ts";
import { webThread } from "../../../src/platform/browser/web-thread.ts";
import { CodePool } from "../../../src/rewards/code/pool.ts";
import type { SandboxReply, SandboxRequest } from "../../../src/rewards/code/sandbox-types.ts";

const poolOf = (test_seconds: number) =>
  new CodePool(
    {
      files: () => browserPythonFiles(new URL("pyodide/", location.href).href),
      thread: () =>
        webThread<SandboxRequest, SandboxReply>(
          new Worker(new URL("../../../workers/trainer.worker.ts", import.meta.url), {
            type: "module",
            name: "qwench-code",
          }),
        ),
      threads: 1,
    },
    { test_seconds, memory_mb: 256 },
  );
// a busy machine must not end the programs that end by themselves
const [pool, hurried] = [poolOf(120), poolOf(3)];

const programs: [name: string, code: string][] = [
  ["adds", "print(sum(map(int, input().split())))"],
  ["raises", "1 / 0"],
  ["is no Python", "I think so."],
  ["loops", "while True: pass"],
  ["eats memory", "x = []\nwhile True: x.append(bytearray(1 << 20))"],
  ["prints forever", "while True: print('x' * 10000)"],
  ["asks for JavaScript", "import js"],
  [
    "fetches",
    `import sys\nsys.meta_path.pop(0)\nfrom pyodide.http import open_url\nopen_url("${location.href}asked-by-python")`,
  ],
  ["fetches otherwise", `import urllib.request\nurllib.request.urlopen("${location.href}asked-by-python")`],
  ["aborts", "import os\nos.abort()"],
  ["adds again", "print(sum(map(int, input().split())))"],
];
const outcomes: string[][] = [];
for (const [name, code] of programs) {
  const used = name === "loops" ? hurried : pool;
  const [{ outcome, message }] = await used.run({ code, tests: [{ kind: "stdin", input: "1 2", output: "3" }] });
  outcomes.push([name, outcome, message ?? ""]);
}
const tested = await pool.run({
  code: "def f(g, xs): return [g(x) for x in xs]",
  tests: [{ kind: "assert", code: "assert f(lambda x: x + 1, [1, 2]) == [2, 3]" }],
});
outcomes.push(["is tested next door", tested[0].outcome, tested[0].message ?? ""]);
await pool.end();
await hurried.end();
Object.assign(globalThis, { outcomes });
