import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openMixture } from "../../src/cli/sources/mixture.ts";
import type { HubOptions } from "../../src/io/hub/hub.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import { FakeHub } from "../io/hub/fake-hub.ts";

let hub: FakeHub;
let root: string;
let options: HubOptions;

beforeEach(async () => {
  hub = await new FakeHub().start();
  root = mkdtempSync(join(tmpdir(), "mixture-"));
  options = { cache: nodeFolder(join(root, "cache")), hubUrl: hub.url, retry: { attempts: 1, baseDelayMs: 1 } };
  mkdirSync(join(root, "sub/deep"), { recursive: true });
  for (const name of ["a", "sub/b", "sub/deep/c", "sub/b_test"]) writeFileSync(join(root, `${name}.jsonl`), rows(name));
  const encode = (text: string) => new TextEncoder().encode(text);
  const files = {
    "en/train.jsonl": encode(rows("en")),
    "de/train.jsonl": encode(rows("de")),
    "de/test.jsonl": encode(rows("t")),
  };
  hub.repos.push({ kind: "dataset", id: "org/set", refs: { main: "a".repeat(40) }, files });
});

afterEach(async () => {
  await hub.stop();
  rmSync(root, { recursive: true, force: true });
});

const rows = (name: string) => [0, 1, 2].map((i) => `${JSON.stringify({ text: `${name}${i}`, i })}\n`).join("");

async function texts(...datasets: Record<string, unknown>[]): Promise<unknown[]> {
  const { recipe } = parseRecipe({ datasets }, "sft");
  const out: unknown[] = [];
  for await (const { row } of openMixture(recipe.datasets!, options)) out.push(row.text);
  return out;
}
const three = (name: string) => [0, 1, 2].map((i) => `${name}${i}`);

describe("datasets reach", () => {
  it("files, json with data_files, patterns, and a folder's files by split", async () => {
    expect(await texts({ path: join(root, "a.jsonl") })).toEqual(three("a"));
    expect(await texts({ path: "json", data_files: join(root, "a.jsonl") })).toEqual(three("a"));
    expect(await texts({ path: "json", data_dir: root, data_files: ["sub/*.jsonl"] })).toEqual([
      ...three("sub/b"),
      ...three("sub/b_test"),
    ]);
    expect(await texts({ path: "json", data_files: join(root, "sub/**/c.jsonl") })).toEqual(three("sub/deep/c"));
    const data_files = { train: "a.jsonl", test: ["sub/b.jsonl"] };
    expect(await texts({ path: root, data_files, split: "test[:2]" })).toEqual(["sub/b0", "sub/b1"]);
    expect(await texts({ path: root, data_dir: "sub/deep" })).toEqual(three("sub/deep/c"));
  });

  it("hub data sets by name, data_dir and data_files, and mix them", async () => {
    expect(await texts({ path: "org/set", data_dir: "de", split: "test" })).toEqual(three("t"));
    expect(await texts({ path: "org/set", data_files: "*/train.jsonl", split: "train[:4]" })).toEqual([
      ...three("de"),
      "en0",
    ]);
    const half = { path: "org/set", name: "en", fraction: 0.5 };
    expect(await texts(half, { path: join(root, "a.jsonl"), fraction: 1, columns: ["text"] })).toEqual([
      "en0",
      "en1",
      ...three("a"),
    ]);
  });

  it("nothing else, and say why", async () => {
    await expect(texts({ path: "json" })).rejects.toThrow("path json needs data_files or data_dir");
    await expect(texts({ path: "json", data_dir: root, data_files: "*.parquet" })).rejects.toThrow("fits *.parquet");
    await expect(texts({ path: "org/set", data_files: "*.csv" })).rejects.toThrow(
      "none of its files fits data_files *.csv",
    );
    const data_files = { train: "a.jsonl" };
    await expect(texts({ path: root, data_files, split: "test" })).rejects.toThrow("have no split test, only train");
  });
});

describe("datasets in a recipe", () => {
  it.each([
    [{ datasets: [] }, "datasets must be a list of mappings"],
    [{ datasets: [{ name: "x" }] }, "datasets, number 1: path must be"],
    [{ datasets: [{ path: "x", weight: 1 }] }, 'datasets, number 1: unknown key "weight"'],
    [{ datasets: [{ path: "x", fraction: -1 }] }, "fraction must be a number of at least 0"],
    [{ datasets: [{ path: "x", fraction: 0 }] }, "needs a fraction above 0"],
    [{ datasets: [{ path: "x", fraction: 1 }, { path: "y" }] }, "number 1 has one, number 2 has none"],
    [{ datasets: [{ path: "x", fraction: 1 }], streaming: true, max_steps: 5 }, "streaming cannot take a fraction"],
  ])("%j is refused", (input, message) => {
    expect(() => parseRecipe(input, "sft")).toThrow(message);
  });

  it("go before dataset_name, with a note; streaming belongs to them", () => {
    const input = { datasets: '[{"path": "x"}]', dataset_name: "y", dataset_streaming: true };
    const { notes, recipe } = parseRecipe(input, "sft");
    expect(recipe.datasets).toEqual([{ path: "x" }]);
    expect(notes).toEqual([
      'dataset_name "y" is ignored: datasets goes before it',
      "dataset_streaming is ignored: streaming applies to datasets",
    ]);
    expect(() => parseRecipe({ ...input, streaming: true, max_steps: 3 }, "dpo")).toThrow(
      "streaming is implemented for sft",
    );
  });
});
