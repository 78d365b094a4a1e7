import { spawn } from "node:child_process";
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import type { EvalFile } from "../../src/eval/results.ts";

// The embedded model by pass@1 and pass@5 of n = 8 on all its held-out problems, in processes of their own that are killed;
// and programs, from a file of responses to their grades.

const BIN = fileURLToPath(new URL("../../src/cli/bin.ts", import.meta.url));
const TSX = createRequire(import.meta.url).resolve("tsx");
const root = mkdtempSync(join(tmpdir(), "qwench-eval-slow-"));
const at = (name: string) => join(root, name);
afterAll(() => rmSync(root, { recursive: true, force: true }));

const linesIn = (file: string) => (existsSync(file) ? readFileSync(file, "utf8").split("\n").length - 1 : 0);

/** Runs `qwench eval`, and kills it with SIGKILL once `partial` has so many more lines than before. */
async function evaluated(argv: readonly string[], partial: string, more = Number.POSITIVE_INFINITY) {
  const most = linesIn(partial) + more;
  const child = spawn(process.execPath, ["--import", TSX, BIN, "eval", ...argv], { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (said += data));
  const timer = setInterval(() => linesIn(partial) >= most && child.kill("SIGKILL"), 2);
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
    child.on("close", (...ended) => resolve(ended));
  });
  clearInterval(timer);
  return { code, signal, said };
}

it("gives the same records twice, also after every kill -9", async () => {
  const flags = (name: string) =>
    `--n 8 --k 1,5 --temperature 0.8 --top_p 0.95 --seed 0 --output ${at(name)}`.split(" ");
  const began = performance.now();
  const first = await evaluated(flags("first.json"), at("first.json.partial"));
  expect(first.code, first.said).toBe(0);
  console.log(`${first.said}\n${((performance.now() - began) / 1000).toFixed(1)} s in all`);
  expect((await evaluated(flags("second.json"), at("second.json.partial"))).code).toBe(0);
  const bytes = readFileSync(at("first.json"));
  expect(readFileSync(at("second.json")).equals(bytes)).toBe(true);

  const partial = at("killed.json.partial");
  for (const [i, batch] of ["64", "16", "5", "64"].entries()) {
    // the batch changes no draw
    const killed = await evaluated([...flags("killed.json"), "--batch_size", batch], partial, 60);
    expect(killed.signal, killed.said).toBe("SIGKILL");
    if (i % 2 === 0) truncateSync(partial, readFileSync(partial).length - 11);
  }
  const done = await evaluated(flags("killed.json"), partial);
  expect(done.code, done.said).toBe(0);
  expect(done.said).toMatch(/Continuing after \d+ of 200 problems/);
  expect(readFileSync(at("killed.json")).equals(bytes)).toBe(true);
  expect(readFileSync(at("killed.report.html"), "utf8")).toBe(readFileSync(at("first.report.html"), "utf8"));

  const { results, records }: EvalFile = JSON.parse(bytes.toString());
  expect(Object.keys(records)).toHaveLength(200);
  expect(Object.keys(results.pass_at)).toEqual(["1", "5"]);
  expect(results.pass_at["5"]).toBeGreaterThan(results.pass_at["1"]);
});

it("runs programs on their tests: the outcome of each, and its passed tests", async () => {
  const rows = ["Add.", "Sub."].map((text, task_id) => ({
    task_id,
    text,
    code: "",
    test_list: ["assert f(2, 1) in (1, 3)", `assert f(5, 2) == ${task_id === 0 ? 7 : 3}`],
  }));
  writeFileSync(at("mbpp.jsonl"), rows.map((row) => JSON.stringify(row)).join("\n"));
  const flags = [
    ...`mbpp --file ${at("mbpp.jsonl")} --n 5 --k 1,5 --temperature 1 --max_tokens 4`.split(" "),
    ...`--template {problem} --output ${at("code.json")}`.split(" "),
  ];
  const partial = at("code.json.partial");
  const started = await evaluated(flags, partial, 1);
  expect(started.signal, started.said).toBe("SIGKILL");
  truncateSync(partial, readFileSync(partial).indexOf("\n") + 1); // its first line says what it is of
  const responses = ["return a + b", "return a - b", "return a +", "while True: pass", "raise ValueError"].map(
    (body) => `\`\`\`python\ndef f(a, b):\n  ${body}\n\`\`\``,
  );
  for (const global_id of [0, 1]) {
    const written = { responses, completion_tokens: [4, 4, 4, 4, 4], finish_reasons: Array(5).fill("stop") };
    appendFileSync(partial, `${JSON.stringify({ global_id, ...written })}\n`);
  }
  const done = await evaluated(flags, partial);
  expect(done.code, done.said).toBe(0);
  const { results, records }: EvalFile = JSON.parse(readFileSync(at("code.json"), "utf8"));
  const rest = ["syntax_error", "timeout", "runtime_error"];
  expect(records["0"].outcomes).toEqual(["passed", "wrong_answer", ...rest]);
  expect(records["1"].outcomes).toEqual(["wrong_answer", "passed", ...rest]);
  expect(records["0"].passed_tests).toEqual([2, 1, 0, 0, 0]);
  expect(records["1"].correct_responses).toEqual([false, true, false, false, false]);
  expect(results).toMatchObject({ pass_at: { 1: 20, 5: 100 }, majority_accuracy: null });
  expect(results.outcomes).toEqual({ passed: 2, wrong_answer: 2, syntax_error: 2, timeout: 2, runtime_error: 2 });
});
