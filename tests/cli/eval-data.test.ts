import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseArgs } from "../../src/cli/args.ts";
import { EVAL_FLAGS, readEvalFlags } from "../../src/cli/flags/eval-flags.ts";
import { embeddedModelFolder } from "../../src/cli/sources/embedded-folder.ts";
import { readProblems } from "../../src/cli/sources/eval-data.ts";
import { embeddedRows } from "../../src/data/sets/embedded.ts";
import { parseModelConfig } from "../../src/model/config.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import type { PreparedText } from "../../src/session/generate.ts";
import { openTokenizer } from "../../src/session/tokenizer.ts";
import { FakeHub } from "../io/hub/fake-hub.ts";

let root: string;
let prepared: PreparedText;
const model = nodeFolder(embeddedModelFolder());
const hub = new FakeHub();

beforeAll(async () => {
  await hub.start();
  root = mkdtempSync(join(tmpdir(), "qwench-eval-data-"));
  const tokenizer = (await openTokenizer(model))!;
  const config = parseModelConfig(JSON.parse(await model.readText("config.json")));
  prepared = { tokenizer, config, chat_template: tokenizer.chat_template } as PreparedText;
});
afterAll(async () => {
  await hub.stop();
  rmSync(root, { recursive: true, force: true });
});

const lines = (rows: readonly unknown[]) => rows.map((row) => JSON.stringify(row)).join("\n");

function fileOf(name: string, content: string): string {
  const path = join(mkdtempSync(join(root, "rows-")), name);
  writeFileSync(path, content);
  return path;
}

async function read(argv: readonly string[], text = prepared) {
  const asked = readEvalFlags(parseArgs(argv, { flags: EVAL_FLAGS }));
  const options = { cache: nodeFolder(join(root, "cache")), hubUrl: hub.url, retry: { attempts: 1, baseDelayMs: 1 } };
  const { problems, ...rest } = await readProblems(asked, text, model, options);
  const prompts = problems.map(({ prompt_ids }) => text.tokenizer.decode([...prompt_ids]));
  return { problems, prompts, ...rest };
}

const maths = (level: number) => ({
  problem: `${level}?`,
  solution: `It is $\\boxed{${level}}$.`,
  answer: `${level}`,
  subject: "Algebra",
  level,
  unique_id: `test/${level}.json`,
});

describe("problems come from", () => {
  it("the embedded model's held-out ones, a level for each number of steps", async () => {
    const { problems, prompts, dataset } = await read(["embedded", "--limit", "3", "--where", "level=2 steps"]);
    expect(dataset).toBe("embedded");
    const rows = embeddedRows("test").filter(({ answer }) => answer.split("\n").length === 3);
    expect(problems.map(({ problem }) => problem)).toEqual(rows.slice(0, 3).map(({ prompt }) => prompt[0].content));
    expect(problems[0]).toMatchObject({ difficulty: "2 steps", source_dataset: "embedded", tests: null });
    expect(rows[0].answer.endsWith(`#### ${problems[0].ground_truth}`)).toBe(true);
    expect(prompts[0]).toMatch(/<\|im_start\|>user\n.*<\|im_end\|>\n<\|im_start\|>assistant\n$/s);
  });

  it("a data set in a file, by level, with the words of a recipe around them", async () => {
    const file = fileOf("some.jsonl", lines([1, 2, 3, 2].map(maths)));
    const argv = ["math500", "--file", file, "--where", "level=2,3", "--limit", "2"];
    const { problems, prompts } = await read([...argv, "--system", "aime", "--template", "Solve: {problem}"]);
    expect(problems.map(({ global_id, difficulty, ground_truth }) => [global_id, difficulty, ground_truth])).toEqual([
      [1, "2", "2"],
      [2, "3", "3"],
    ]);
    expect(problems[0]).toMatchObject({ original_id: "test/2.json", solution: "It is $\\boxed{2}$.", problem: "2?" });
    expect(prompts[0]).toContain("You are a mathematical problem solver.");
    expect(prompts[0]).toContain("Solve: 2?");
  });

  it("all files of AIME's folder, and the hub", async () => {
    const folder = mkdtempSync(join(root, "aime-"));
    const problem = (id: string) => lines([{ id, problem: `${id}?`, answer: 7 }]);
    mkdirSync(folder, { recursive: true });
    for (const part of ["test2024", "test2025-I", "test2025-II"])
      writeFileSync(join(folder, `${part}.jsonl`), problem(part));
    const local = await read(["aime", "--file", folder]);
    const found = local.problems.map(({ source_dataset, global_id }) => [source_dataset, global_id]);
    expect(found).toEqual([
      ["test2024", 0],
      ["test2025-I", 1],
      ["test2025-II", 2],
    ]);
    const files = { "data/test.jsonl": new TextEncoder().encode(lines([maths(5)])) };
    hub.repos.push({ kind: "dataset", id: "HuggingFaceH4/MATH-500", refs: { main: "a".repeat(40) }, files });
    expect((await read(["math500"])).problems.map(({ ground_truth }) => ground_truth)).toEqual(["5"]);
  });

  it("any rows with a question and an answer, under any names", async () => {
    const csv = fileOf("sums.csv", 'question,ground_truth,difficulty\n1+1?,2,easy\n2+2?,"so\n#### 4",hard\n');
    const { dataset, problems } = await read([csv]);
    expect(dataset).toBe("sums");
    expect(problems.map(({ ground_truth, difficulty }) => [ground_truth, difficulty])).toEqual([
      ["2", "easy"],
      ["4", "hard"],
    ]);
    const boxed = fileOf("b.jsonl", lines([{ problem: "?", solution: "thus \\boxed{9}", url: "https://example.org" }]));
    expect((await read([boxed])).problems[0]).toMatchObject({ ground_truth: "9", url: "https://example.org" });
  });

  it("conversations, up to the model's turn", async () => {
    const messages = [
      { role: "system", content: "Be brief." },
      { role: "user", content: "1+1?" },
      { role: "assistant", content: "It is 2." },
    ];
    const file = fileOf("chat.jsonl", lines([{ messages, answer: 2 }]));
    const { problems, prompts } = await read([file, "--system", "Be long."]);
    expect(problems[0]).toMatchObject({ problem: "1+1?", ground_truth: "2" });
    expect(prompts[0]).toContain("Be brief.");
    expect(prompts[0]).not.toMatch(/It is 2|Be long/);
    await expect(read([file, "--template", "Q: {problem}"])).rejects.toThrow(
      /chat, row 1: has messages, but a template only applies to a question/,
    );
  });

  it("programs with their tests", async () => {
    const humaneval = {
      task_id: "HumanEval/0",
      prompt: "def f(x):\n",
      canonical_solution: "    return x\n",
      test: "def check(f):\n    assert f(1) == 1\n",
      entry_point: "f",
    };
    const { problems } = await read(["humaneval", "--file", fileOf("h.jsonl", lines([humaneval]))]);
    expect(problems[0]).toMatchObject({ ground_truth: null, original_id: "HumanEval/0" });
    expect(problems[0].tests!.tests).toEqual([
      { kind: "assert", code: expect.stringContaining("check(f)"), entry: "f", given: expect.any(String) },
    ]);
    const rows = fileOf(
      "own.jsonl",
      lines([{ question: "Add.", test_list: ["assert f(1) == 1", "assert f(2) == 2"] }]),
    );
    expect((await read([rows])).problems[0].tests!.tests).toHaveLength(2);
  });
});

describe("problems are refused", () => {
  const one = { question: "1+1?", answer: "2" };
  it.each<[string, unknown[], RegExp]>([
    ["that have no question", [one, { answer: "2" }], /own.jsonl, row 2: has the columns answer; it needs problem/],
    ["that are empty", [{ ...one, question: " " }], /row 1: its question is empty/],
    ["that have no answer", [{ question: "1+1?" }], /row 1: has no expected answer: it needs answer or/],
    ["whose tests are none", [{ question: "Add.", test_list: [] }], /own, row 1: test_list contains no tests/],
    ["that are none", [], /no problems to evaluate: own has no rows/],
  ])("%s", async (_, rows, message) => {
    await expect(read([fileOf("own.jsonl", lines(rows))])).rejects.toThrow(message);
  });

  it("if no problem is left, or a row has no question", async () => {
    const file = fileOf("own.jsonl", lines([{ ...one, level: 1 }]));
    await expect(read([file, "--where", "level=2"])).rejects.toThrow(/own has none with level 2/);
    const mute = { ...prepared, chat_template: null };
    await expect(read([file], mute)).rejects.toThrow(/no chat template; name one with --chat_template_path/);
    await expect(read(["embedded", "--split", "dev"])).rejects.toThrow(/splits test and train, got "dev"/);
  });

  it("but not because one is too long: that is reported separately", async () => {
    const file = fileOf("own.jsonl", lines([one, { ...one, question: "1+1? ".repeat(200) }]));
    const { problems, tooLong } = await read([file]);
    expect(problems).toHaveLength(2);
    expect(tooLong).toEqual([problems[1]]);
  });
});
