import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { parseArgs } from "../../src/cli/args.ts";
import { runData } from "../../src/cli/commands/data.ts";
import { DATA_FLAGS } from "../../src/cli/flags/data-flags.ts";
import { openDataset } from "../../src/cli/sources/datasets.ts";
import { hubOptions } from "../../src/cli/sources/hub.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import { bins, quantile } from "../../src/text/bins.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "qwench-show-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const write = (name: string, rows: object[]) => {
  const path = join(folder, name);
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return path;
};
/** What `qwench data show …` prints, and its exit code. */
async function show(...args: string[]): Promise<{ code: number; text: string }> {
  const lines: string[] = [];
  const log = vi.spyOn(console, "log").mockImplementation((line) => void lines.push(String(line)));
  try {
    const code = await runData(parseArgs(["show", ...args], { flags: DATA_FLAGS }));
    return { code, text: lines.join("\n") };
  } finally {
    log.mockRestore();
  }
}

test("says the form, the columns, the lengths, and what is read and learnt", async () => {
  const file = write(
    "qa.jsonl",
    Array.from({ length: 12 }, (_, i) => ({ question: `What is ${i} + 1?`, answer: "x".repeat(4 * i + 1), id: i })),
  );
  const { code, text } = await show(file, "--rows", "1", "--max_length", "40");
  expect(code).toBe(0);
  expect(text).toContain("qa.jsonl: 12 rows, question and answer\ncolumns that training does not use: id");
  expect(text).toMatch(/tokens of the embedded model: median \d+, 95 % \d+, longest \d+/);
  expect(text).toMatch(/\d+–\d+ █+ \d/);
  expect(text).toMatch(/\d rows? longer than max_length 40: cut/);
  expect(text).toMatch(/row 1: \d+ tokens\n--- read\n.*What is 0 \+ 1\?.*\n--- learnt\n/s);
  expect(text).not.toContain("row 2:");
});

test("columns name what has other names; without them, the exit code is 1 and the text says how", async () => {
  const file = write("odd.jsonl", [{ q: "2+2", a: "4" }]);
  const unknown = await show(file);
  expect(unknown.code).toBe(1);
  expect(unknown.text).toMatch(
    /not known: .*has the keys q, a.*\nName the columns, such as --columns prompt=q,completion=a/s,
  );
  const known = await show(file, "--columns", "question=q,answer=a");
  expect(known.code).toBe(0);
  expect(known.text).toContain("odd.jsonl: 1 row, question and answer");
  await expect(show(file, "--columns", "question=nothing,answer=a")).rejects.toThrow("has no column nothing");
  await expect(show()).rejects.toThrow("needs one file");
  await expect(show(file, "--rows", "none")).rejects.toThrow("--rows must be a whole number above 0, got none");
});

test("preferences show the worse answer; GRPO shows prompts only", async () => {
  const file = write("pairs.jsonl", [{ prompt: "2+2=", chosen: "4", rejected: "5" }]);
  expect((await show(file, "--method", "dpo")).text).toMatch(/--- read\n.*--- learnt\n.*4.*--- worse answer\n.*5/s);
  expect((await show(file, "--method", "grpo")).text).not.toContain("--- learnt");
});

test("a recipe's columns rename the rows that training reads", async () => {
  const file = write("train.jsonl", [{ q: "2+2", a: "4", level: 1 }]);
  const recipe = { dataset_config: null, system_prompt: null, columns: "prompt=q,completion=a" };
  const hub = hubOptions(new AbortController().signal, () => {});
  const rows = [];
  for await (const { row } of await openDataset(file, "train", recipe, hub, memoryFolder("model"))) rows.push(row);
  expect(rows).toEqual([{ q: "2+2", a: "4", level: 1, prompt: "2+2", completion: "4" }]);
  const known = { ...recipe, dataset_format: "gsm8k" as const };
  await expect(openDataset(file, "train", known, hub, memoryFolder("model"))).rejects.toThrow("columns does not apply");
});

test("columns that cannot be read are refused with the recipe, and those beside a mixture are said to be ignored", () => {
  expect(() => parseRecipe({ columns: "promt=q" }, "sft")).toThrow(/^columns must be Qwench's names/);
  const { notes } = parseRecipe({ columns: "prompt=q", datasets: [{ path: "a.jsonl" }] }, "sft");
  expect(notes.join("\n")).toContain("columns is ignored: it is for dataset_name");
});

test("a histogram has round edges and holds every value", () => {
  const values = Array.from({ length: 100 }, (_, i) => 37 + i * 3);
  const bars = bins(values, 10);
  expect(bars.length).toBeLessThanOrEqual(10);
  expect(bars.reduce((sum, { count }) => sum + count, 0)).toBe(100);
  for (const { from, to } of bars) expect([from % 50, to - from]).toEqual([0, 50]);
  expect(bins([7], 10)).toEqual([{ from: 7, to: 8, count: 1 }]);
  expect(bins([], 10)).toEqual([]);
  expect(quantile([1, 2, 3, 4], 0.5)).toBe(3);
});
