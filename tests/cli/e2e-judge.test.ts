import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import { CODE_LIMITS } from "../../src/rewards/code/pool.ts";
import { type Answer, fails, inTurn, type JudgeServer, says, serveJudge } from "../rewards/judge/judge-server.ts";
import { run } from "./e2e.ts";
import { at, grpoArgs, mine, rowsFile, useGrpoInputs } from "./grpo-e2e.ts";

useGrpoInputs();

const KEY = "sk-loopback-0123456789abcdef";
let server: JudgeServer;

beforeEach(() => void vi.stubEnv("QWENCH_JUDGE_KEY", KEY));
afterEach(async () => {
  vi.unstubAllEnvs();
  await server?.close();
});

async function judged(output: string, answer: Answer, ...more: string[]) {
  server = await serveJudge(answer);
  const flags = ["--judge_url", server.url, "--judge_model", "grader", "--judge_price_prompt", "2"];
  return run(...grpoArgs(output, ["judge", ...mine("letters")], ...flags, ...more));
}

/** Every file below a folder, and what was said, as one text. */
function everything(output: string, said: string): string {
  const files = readdirSync(output, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return [
    said,
    ...files.map(({ parentPath, name }) => `${name}\n${readFileSync(join(parentPath, name), "latin1")}`),
  ].join("\n");
}

describe("qwench grpo with a judge", () => {
  it("continues after 429, 500, malformed JSON, scores out of range and slow answers; the key appears nowhere", async () => {
    const output = mkdtempSync(at("judged-"));
    const slow: Answer = (...args) => void setTimeout(() => says("Score: 4")(...args), 300);
    const { code, said } = await judged(
      output,
      inTurn(
        fails(429, `Bearer ${KEY}`, { "retry-after": "0.2" }),
        fails(500, `Bearer ${KEY}`),
        (res) => void res.end(`{"choices": ["${KEY}`),
        says("Score: 12"),
        slow,
        says(`Score: 6, says ${KEY}`),
      ),
      ...["--judge_cache", join(output, "cache"), "--judge_concurrency", "2"],
    );
    expect(said).toMatch(/Done: step 4/);
    expect(code).toBe(0);
    expect(said).toMatch(/^step 1\/4 .*judge 0\.\d+/m);
    expect(said).toMatch(
      /^judge: \d+ replies, \d+ from the cache, \d+ requests repeated, \d+ prompt and \d+ reply tokens, 0\.\d+ USD/m,
    );
    expect(server.asked.every(({ authorization }) => authorization === `Bearer ${KEY}`)).toBe(true);
    const all = everything(output, said);
    expect(all).toContain("rewards/judge/mean");
    expect(all).toContain("Score: 6, says [key]"); // of the cache
    expect(all).not.toContain(KEY);

    // the same run again asks nothing that it knows
    const asked = server.asked.length;
    await server.close();
    const again = await judged(mkdtempSync(at("judged-")), says("Score: 1"), "--judge_cache", join(output, "cache"));
    expect(again.code).toBe(0);
    expect(server.asked.length).toBeLessThan(asked);
  });

  it.each<[string, Answer, RegExp]>([
    [
      "refuses the key",
      (res, { authorization }) => void res.writeHead(401).end(`no such key: ${authorization}`),
      /answers 401 \(no such key: Bearer \[key\]\); it rejects the key in QWENCH_JUDGE_KEY/,
    ],
    [
      "is out of order",
      fails(503),
      /Cannot ask the judge at http:\/\/127\.0\.0\.1:\d+\/v1\/chat\/completions: it answers 503 \(2 attempts\)/,
    ],
    [
      "never gives a score",
      says(`I am ${KEY}`),
      /None of the judge's replies to 8 completions has a score from 0 to 10 .*"I am \[key\]"/,
    ],
  ])("stops with a message if it %s", async (_, answer, sentence) => {
    const output = mkdtempSync(at("stopped-"));
    const { code, said } = await judged(output, answer, "--judge_retries", "1");
    expect(said).toMatch(sentence);
    expect(said).toContain("Reward judge failed on");
    expect(said).not.toMatch(/UNCAUGHT|\n\s+at .*\.[mt]s:\d+/);
    expect(code).toBe(1);
    expect(everything(output, said)).not.toContain(KEY);
  });

  it("continues without it with judge_on_error: skip", async () => {
    const { code, said } = await judged(mkdtempSync(at("skip-")), fails(400), "--judge_on_error", "skip");
    expect(said).toMatch(/judge: 0 replies, .* completions left without a score/);
    expect(code).toBe(0);
  });

  it("reports missing fields of a recipe before it loads anything", async () => {
    const { code, said } = await run(...grpoArgs(mkdtempSync(at("bare-")), ["judge"]));
    expect(said).toContain("The reward judge needs judge_model: the name of the model that grades");
    expect(code).toBe(/^RecipeError: /m.test(said) ? 2 : 1);
  });
});

it("qwench grpo with code_reward runs the completions' programs, and ends", async () => {
  const rows = rowsFile(
    Array.from({ length: 8 }, (_, i) => ({ prompt: `write ${i}`, test_list: ["assert f() == 1"] })),
  );
  const output = mkdtempSync(at("code-"));
  const rewards = ["code_reward", "code_format", ...mine("letters")];
  const { code, said } = await run(...grpoArgs(output, rewards, "--dataset_name", rows, "--max_steps", "1"));
  expect(said).toMatch(/ code 0 /);
  expect(code).toBe(0);
  const metrics = readFileSync(join(output, "metrics.jsonl"), "utf8"); // a line of the log has what fits 80 columns
  for (const name of ["code_reward", "code_format_reward"]) expect(metrics).toContain(`"rewards/${name}/mean":0`);
  const { recipe } = parseRecipe({}, "grpo");
  expect([recipe.code_test_timeout, recipe.code_total_timeout, recipe.code_memory]).toEqual([
    CODE_LIMITS.test_seconds,
    CODE_LIMITS.total_seconds,
    CODE_LIMITS.memory_mb,
  ]);
});
