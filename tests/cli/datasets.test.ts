import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openDataset } from "../../src/cli/sources/datasets.ts";
import type { HubOptions } from "../../src/io/hub/hub.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import { tinyTokenizerFiles } from "../data/fixtures.ts";
import { FakeHub } from "../io/hub/fake-hub.ts";

let hub: FakeHub;
let root: string;
let options: HubOptions;

beforeEach(async () => {
  hub = await new FakeHub().start();
  root = mkdtempSync(join(tmpdir(), "datasets-"));
  options = { cache: nodeFolder(join(root, "cache")), hubUrl: hub.url, retry: { attempts: 1, baseDelayMs: 1 } };
});

afterEach(async () => {
  await hub.stop();
  rmSync(root, { recursive: true, force: true });
});

const lines = (rows: readonly unknown[]) => rows.map((row) => JSON.stringify(row)).join("\n");
const sums = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => ({ question: `${from + i}+1?`, answer: `so\n#### ${from + i + 1}` }));

async function rowsOf(
  name: string,
  split: string,
  fields: Record<string, unknown> = {},
): Promise<Record<string, unknown>[]> {
  const { recipe } = parseRecipe({ dataset_name: name, ...fields }, "grpo");
  const rows = [];
  for await (const { row } of await openDataset(name, split, recipe, options, nodeFolder(root))) rows.push(row);
  return rows;
}

function onHub(id: string, files: Record<string, string>): void {
  const bytes = Object.fromEntries(Object.entries(files).map(([path, text]) => [path, new TextEncoder().encode(text)]));
  hub.repos.push({ kind: "dataset", id, refs: { main: "a".repeat(40) }, files: bytes });
}

describe("dataset_name reaches", () => {
  it("a data set by its name, on the hub, downloading only the files that it reads", async () => {
    onHub("openai/gsm8k", {
      "main/train-1-of-2.jsonl": lines(sums(0, 5)),
      "main/train-2-of-2.jsonl": lines(sums(5, 5)),
      "main/test.jsonl": lines(sums(10, 2)),
    });
    const first = await rowsOf("gsm8k", "train", { dataset_options: { limit: 3 }, system_prompt: "Think." });
    expect(first.map(({ answer }) => answer)).toEqual(["1", "2", "3"]);
    expect(first[0].prompt).toEqual([
      { role: "system", content: "Think." },
      { role: "user", content: "0+1?" },
    ]);
    const asked = () => hub.asked.filter(({ path }) => path.endsWith("train-2-of-2.jsonl"));
    expect(asked()).toEqual([]);
    expect(await rowsOf("gsm8k", "train", { dataset_options: { limit: 5 } })).toHaveLength(5);
    expect(asked()).toEqual([]);
    expect(await rowsOf("gsm8k", "train")).toHaveLength(10);
    expect(asked()).not.toEqual([]);
    expect((await rowsOf("gsm8k", "test")).map(({ answer }) => answer)).toEqual(["11", "12"]);
  });

  it("all three parts of AIME", async () => {
    const problem = (name: string) => lines([{ problem: `${name}?`, question: `${name}?`, answer: "7" }]);
    onHub("HuggingFaceH4/aime_2024", { "data/train.jsonl": problem("A") });
    onHub("opencompass/AIME2025", { "AIME2025-I/test.jsonl": problem("B"), "AIME2025-II/test.jsonl": problem("C") });
    const rows = await rowsOf("aime", "test");
    expect(rows.map(({ problem, source_dataset, global_id }) => [problem, source_dataset, global_id])).toEqual([
      ["A?", "test2024", 0],
      ["B?", "test2025-I", 1],
      ["C?", "test2025-II", 2],
    ]);
  });

  it("a file or a folder in that format, compressed or not", async () => {
    const file = join(root, "sums.jsonl.gz");
    writeFileSync(file, gzipSync(lines(sums(0, 4))));
    const rows = await rowsOf(file, "train", { dataset_format: "gsm8k", dataset_options: { form: "xml" } });
    expect(rows.map(({ answer }) => answer)).toEqual(["1", "2", "3", "4"]);
    expect(rows[0]).toMatchObject({ source_dataset: "sums" });
    expect(JSON.stringify(rows[0].completion)).toContain("<reasoning>");
    const csv = join(root, "sums.csv");
    writeFileSync(csv, 'question,answer\n1+1?,"so\n#### 2"\n');
    expect(await rowsOf(csv, "train", { dataset_format: "gsm8k" })).toMatchObject([{ problem: "1+1?", answer: "2" }]);
    mkdirSync(join(root, "aime"));
    for (const name of ["test2025-II", "test2024", "test2025-I"]) {
      writeFileSync(join(root, "aime", `${name}.jsonl`), lines([{ id: name, problem: "?", answer: "1" }]));
    }
    const aime = await rowsOf(join(root, "aime"), "train", { dataset_format: "aime" });
    expect(aime.map(({ source_dataset }) => source_dataset)).toEqual(["test2024", "test2025-I", "test2025-II"]);
  });

  it("the sides of its problems, which do not overlap", async () => {
    const file = join(root, "sums.jsonl");
    writeFileSync(file, lines(sums(0, 200)));
    const fields = { dataset_format: "gsm8k", dataset_options: { shares: { train: 0.5, test: 0.5 } } };
    const [train, test] = [await rowsOf(file, "train", fields), await rowsOf(file, "test", fields)];
    expect(train.length + test.length).toBe(200);
    expect(Math.min(train.length, test.length)).toBeGreaterThan(60);
    const asked = new Set(train.map(({ problem }) => problem));
    expect(test.filter(({ problem }) => asked.has(problem))).toEqual([]);
  });

  it("unchanged rows if no format is given", async () => {
    const file = join(root, "sums.jsonl");
    writeFileSync(file, lines(sums(0, 1)));
    expect(await rowsOf(file, "train")).toEqual(sums(0, 1));
    await expect(rowsOf(file, "train", { dataset_options: { limit: 1 } })).rejects.toThrow(
      /dataset_options are for data sets that Qwench knows \(gsm8k, .*sums\.jsonl is not one of them; set dataset_format/,
    );
    expect(() => parseRecipe({ dataset_format: "imagenet" }, "sft")).toThrow(
      "dataset_format must be one of gsm8k, limo,",
    );
  });
});

it("the model's tokenizer counts the tokens of the reasoning", async () => {
  const file = join(root, "code.jsonl");
  const row = (words: number) => ({
    input: `${words}?`,
    output: `<think>${"ab ".repeat(words)}</think>`,
    solution: "pass",
  });
  writeFileSync(file, lines([row(2), row(200)]));
  const fields = { dataset_format: "opencodereasoning", dataset_options: { max_reasoning_tokens: 50 } };
  await expect(rowsOf(file, "train", fields)).rejects.toThrow(
    /max_reasoning_tokens needs a tokenizer, but .* has none/,
  );
  const { tokenizerJson, tokenizerConfig } = tinyTokenizerFiles();
  writeFileSync(join(root, "tokenizer.json"), tokenizerJson);
  writeFileSync(join(root, "tokenizer_config.json"), tokenizerConfig);
  expect((await rowsOf(file, "train", fields)).map(({ problem }) => problem)).toEqual(["2?"]);
});
