import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { main } from "../../src/cli/main.ts";
import { checkFileLike, isFileLike } from "../../src/cli/sources/file-names.ts";

const root = mkdtempSync(join(tmpdir(), "qwench-names-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

test.each([
  "rows.jsonl",
  "a/rows.csv.gz",
  "./model",
  "../model",
  "/data",
  "~/model",
  "C:\\model",
  "a\\b",
  "a/b/c",
  ".",
  "r.yaml",
])("%s can only be a file or folder", (name) => expect(isFileLike(name)).toBe(true));

test.each(["gsm8k", "Qwen/Qwen2.5-0.5B-Instruct", "openai/gsm8k", "unsloth/Qwen2.5-0.5B-GGUF", "me/v1.0"])(
  "%s may be on the hub",
  (name) => expect(isFileLike(name)).toBe(false),
);

test("a missing file is named with the nearest one beside it", () => {
  writeFileSync(join(root, "rows.jsonl"), "");
  expect(() => checkFileLike(join(root, "row.jsonl"), "read rows from")).toThrow(
    /Cannot read rows from .*row\.jsonl: there is no such file or folder; did you mean rows\.jsonl\?/,
  );
  expect(() => checkFileLike(join(root, "no", "x.csv"), "read rows from")).toThrow(/there is no folder .*no$/);
  checkFileLike(join(root, "rows.jsonl"), "read rows from");
});

describe("commands", () => {
  let said = "";
  const fetched = vi.fn(async () => {
    throw new Error("no network is needed");
  });
  beforeEach(() => {
    said = "";
    vi.stubGlobal("fetch", fetched);
    vi.spyOn(console, "error").mockImplementation((...parts) => void (said += `${parts.join(" ")}\n`));
    vi.spyOn(console, "log").mockImplementation((...parts) => void (said += `${parts.join(" ")}\n`));
  });
  afterEach(() => {
    vi.restoreAllMocks();
    vi.unstubAllGlobals();
  });

  const missing = join(root, "nowhere.jsonl");
  const model = ["--model_name_or_path", "owner/model"];
  test.each<[string[], RegExp]>([
    [["sft", ...model, "--dataset_name", "rows.jsonl"], /Cannot read rows from rows\.jsonl: there is no such file/],
    [["sft", ...model, "--dataset_name", missing], /Cannot read rows from .*nowhere\.jsonl/],
    [["sft", "--model_name_or_path", "./nowhere", "--dataset_name", "owner/rows"], /Cannot load \.\/nowhere/],
    [
      [
        "grpo",
        ...model,
        "--dataset_name",
        "gsm8k",
        "--adapter_name_or_path",
        "./sft",
        "--reward_funcs",
        "int_reward_func",
      ],
      /Cannot load the adapter \.\/sft/,
    ],
    [["plan", ...model, "--dataset_name", "rows.jsonl"], /Cannot read rows from rows\.jsonl/],
    [["generate", "--file", missing], /Cannot read prompts from .*nowhere\.jsonl: there is no such file/],
    [["sft", "missing.yaml"], /Cannot read recipe missing\.yaml: there is no such file/],
    [["eval", missing], /There is no data set or file/],
  ])("%j says at once what is missing, and asks no network and no GPU", async (argv, message) => {
    const code = await main(argv);
    expect(said).toMatch(message);
    expect(said).not.toMatch(/Adapter:/);
    expect(code).toBe(argv[0] === "eval" ? 2 : 1);
    expect(fetched).not.toHaveBeenCalled();
  });

  test.each<[string[], RegExp]>([
    [["sft", "--max_steps", "abc"], /max_steps must be an integer/],
    [["sft", "--lora_r=0"], /lora_r must be an integer of at least 1/],
    [["sft", "--loss_type", "nope"], /loss_type must be one of/],
    [["sft", "--packing", "maybe"], /Cannot read recipe maybe: there is no such file/],
    [["sft", "positional"], /Cannot read recipe positional/],
    [["grpo", "--num_generations", "1"], /num_generations/],
    [["plan", "--method", "ppo"], /--method must be one of/],
  ])("%j is a wrong usage", async (argv, message) => {
    expect(await main(argv)).toBe(2);
    expect(said).toMatch(message);
  });
});
