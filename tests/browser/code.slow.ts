import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bundle, type Site, serve, useBrowser } from "./harness.ts";

const web = useBrowser();
let site: Site;
beforeAll(async () => {
  const files = await bundle("tests/browser/pages/code.ts");
  const from = join(import.meta.dirname, "../../node_modules/pyodide");
  for (const name of ["pyodide.asm.js", "pyodide.js", "pyodide-lock.json", "pyodide.asm.wasm", "python_stdlib.zip"]) {
    files.set(`pyodide/${name}`, readFileSync(join(from, name)));
  }
  site = await serve(files, { base: "/under/a/path/" });
});
afterAll(() => site.close());

test("Python runs in a worker under a policy without eval, with the same outcomes as in Node", async () => {
  const page = await web.open(site.url);
  const outcomes = await page.waitForFunction("globalThis.outcomes");
  expect(await outcomes.jsonValue()).toEqual([
    ["adds", "passed", ""],
    ["raises", "runtime_error", "line 1: ZeroDivisionError: division by zero"],
    ["is no Python", "syntax_error", expect.stringContaining("line 1: SyntaxError")],
    ["loops", "timeout", "over 3 s"],
    ["eats memory", "out_of_memory", "line 2: MemoryError"],
    ["prints forever", "runtime_error", "it wrote more than the limit of 8.00 MiB"],
    ["asks for JavaScript", "runtime_error", "line 1: ModuleNotFoundError: No module named 'js': not in this sandbox"],
    ["fetches", "runtime_error", expect.any(String)],
    ["fetches otherwise", "runtime_error", expect.stringContaining("URLError")],
    ["aborts", "runtime_error", "it called _abort_js, which is not allowed"],
    ["adds again", "passed", ""],
    ["is tested next door", "passed", ""],
  ]);
  expect(site.asked.filter((path) => path.includes("asked-by-python"))).toEqual([]);
});
