import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { NotFoundError, RecipeError } from "../../../src/errors.ts";
import { downloadDataset } from "../../../src/io/hub/dataset.ts";
import type { HubOptions } from "../../../src/io/hub/hub.ts";
import { nodeFolder } from "../../../src/platform/node/fs.ts";
import { FakeHub, type FakeRepo, failure } from "./fake-hub.ts";

const COMMIT = "a".repeat(40);
const NEXT = "b".repeat(40);
const text = (s: string) => new TextEncoder().encode(s);

let hub: FakeHub;
let root: string;
let options: HubOptions;

beforeEach(async () => {
  hub = await new FakeHub().start();
  root = mkdtempSync(join(tmpdir(), "hub-dataset-"));
  options = { cache: nodeFolder(root), hubUrl: hub.url, retry: { attempts: 2, baseDelayMs: 1 } };
});

afterEach(async () => {
  await hub.stop();
  rmSync(root, { recursive: true, force: true });
});

describe("downloadDataset", () => {
  const id = "openai/gsm8k";
  const branch = { "refs/convert/parquet": NEXT };
  const dataset = (refs: Record<string, string>, files: string[], converted: string[] = []): FakeRepo => {
    const of = (names: string[]) => Object.fromEntries(names.map((name) => [name, text(name)]));
    const made: FakeRepo = { kind: "dataset", id, refs, files: of(files), commits: { [NEXT]: of(converted) } };
    hub.repos.push(made);
    return made;
  };
  const CONVERTED = [
    "main/train/0000.parquet",
    "main/test/0000.parquet",
    "socratic/train/0010.parquet",
    "socratic/train/0002.parquet",
    "socratic/partial-test/0000.parquet",
  ];

  it("downloads a split from the hub's own Parquet conversion, once", async () => {
    dataset({ main: COMMIT, ...branch }, [], CONVERTED);
    const got = await downloadDataset(id, { ...options, config: "main", split: "train" });
    expect(got).toMatchObject({ commit: NEXT, config: "main", split: "train", files: ["main/train/0000.parquet"] });
    expect(await got.folder.readText(got.files[0]!)).toBe("main/train/0000.parquet");
    expect(got.folder.path).toBe(join(root, "datasets--openai--gsm8k/snapshots", NEXT));
    hub.asked.length = 0;
    await downloadDataset(id, { ...options, config: "main" });
    expect(hub.asked.length).toBe(1);
    const partial = await downloadDataset(id, { ...options, config: "socratic", split: "test" });
    expect(partial.files).toEqual(["socratic/partial-test/0000.parquet"]);
    const many = await downloadDataset(id, { ...options, config: "socratic" });
    expect(many.files).toEqual(["socratic/train/0002.parquet", "socratic/train/0010.parquet"]);
  });

  it("requires a config if there are several, and lists them", async () => {
    dataset({ main: COMMIT, ...branch }, [], CONVERTED);
    const several = await failure(downloadDataset(id, options));
    expect(several).toBeInstanceOf(RecipeError);
    expect(several.message).toContain("one of main, socratic");
    const config = await failure(downloadDataset(id, { ...options, config: "x" }));
    expect(config.message).toMatch(/no config x, but main, socratic/);
    const split = await failure(downloadDataset(id, { ...options, config: "main", split: "dev" }));
    expect(split).toBeInstanceOf(NotFoundError);
    expect(split.message).toMatch(/no split dev, but test, train/);
  });

  it.each<[string, string[], string | undefined, string, string[]]>([
    [
      "the names tell",
      ["data/train-00000-of-00002.parquet", "data/test-0.parquet"],
      undefined,
      "test",
      ["data/test-0.parquet"],
    ],
    ["row order", ["train-10.jsonl", "train-9.jsonl"], undefined, "train", ["train-9.jsonl", "train-10.jsonl"]],
    ["nothing tells", ["rows.jsonl", "dataset_info.json"], undefined, "train", ["rows.jsonl"]],
    ["a synonym", ["dev.jsonl", "train.jsonl"], undefined, "validation", ["dev.jsonl"]],
    [
      "two words",
      ["data/train_sft-0.parquet", "data/train_gen-0.parquet"],
      undefined,
      "train_sft",
      ["data/train_sft-0.parquet"],
    ],
    ["a config", ["main/train.jsonl", "socratic/train.jsonl"], "socratic", "train", ["socratic/train.jsonl"]],
  ])("falls back to the repository's own files: %s", async (_what, files, config, split, wanted) => {
    dataset({ main: COMMIT }, files);
    const got = await downloadDataset(id, { ...options, config, split });
    expect(got.commit).toBe(COMMIT);
    expect(got.files).toEqual(wanted);
  });

  it("uses the repository's own files if a revision is given", async () => {
    dataset({ main: COMMIT, v1: COMMIT, ...branch }, ["train.jsonl", "test.jsonl"], CONVERTED);
    const got = await downloadDataset(id, { ...options, revision: "v1" });
    expect(got.files).toEqual(["train.jsonl"]);
    const several = dataset({ main: COMMIT }, ["a/train.jsonl", "b/train.jsonl"]);
    several.id = "two/configs";
    expect(await failure(downloadDataset("two/configs", options))).toBeInstanceOf(RecipeError);
    const none = await failure(downloadDataset(id, { ...options, revision: "v1", split: "validation" }));
    expect(none).toBeInstanceOf(NotFoundError);
  });

  it("gives advice for a gated data set", async () => {
    dataset({ main: COMMIT, ...branch }, [], CONVERTED).token = "hf_x";
    const error = await failure(downloadDataset(id, { ...options, config: "main" }));
    expect(error).toBeInstanceOf(NotFoundError);
    expect(error.message).toMatch(/the data set openai\/gsm8k.*gated or private \(set HF_TOKEN/);
  });
});
