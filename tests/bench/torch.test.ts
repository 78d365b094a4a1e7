import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { BenchRow } from "../../bench/rows.ts";
import { benchModel, modelFlops } from "../../bench/sizes.ts";
import { besideTorch, readRows } from "../../bench/torch.ts";

const folder = mkdtempSync(join(tmpdir(), "qwench-torch-"));
afterAll(() => rmSync(folder, { recursive: true }));

const row = (what: string, shape: string, more: Partial<BenchRow>): BenchRow => ({
  commit: "abc",
  date: "2026-01-01T00:00:00Z",
  adapter: "A card",
  what,
  shape,
  dtype: "bf16",
  median_ms: 1,
  spread: 0,
  gflops: null,
  ratio: null,
  against: null,
  ...more,
});
const torch = (what: string, shape: string, more: Partial<BenchRow>) => row(`torch 2.9.0+cu128: ${what}`, shape, more);

const PRODUCT = "[4096,896]→4864";
const STEP = "24 layers, 4 × 1024 tokens";
const PASS = "24 layers of 896, batch 16";
const OURS = [
  row("x·Wᵀ up_proj bf16", PRODUCT, { gflops: 300 }),
  row("x·Wᵀ up_proj f32", PRODUCT, { gflops: 45, dtype: "f32" }),
  row("SFT step", STEP, { tokens_per_s: 9000, gflops: 5 }),
  row("greedy 1", "24 layers of 896, batch 1", { tokens_per_s: 50 }),
  row("greedy 16", PASS, { tokens_per_s: 3000 }),
];
const THEIRS = [
  torch("x·Wᵀ up_proj bf16", PRODUCT, { gflops: 500 }),
  torch("x·Wᵀ up_proj f32", PRODUCT, { gflops: 50 }),
  torch("peak of f32", PRODUCT, { gflops: 60 }),
  torch("SFT step, PEFT, autocast", STEP, { tokens_per_s: 6000 }),
  torch("SFT step, PEFT, bf16 adapters", STEP, { tokens_per_s: 10000 }),
  torch("greedy 16, transformers", PASS, { tokens_per_s: 500 }),
];

describe("rows beside torch's", () => {
  it("are compared with the fastest equivalent, and judged", () => {
    const lines: string[] = [];
    const rows = besideTorch(OURS, THEIRS, (line) => lines.push(line));
    const told = rows.map(({ what, ratio, least, met, peers }) => [what, ratio, least, met, peers?.torch]);
    expect(told).toEqual([
      ["x·Wᵀ up_proj bf16", 0.6, 0.5, true, 0.6],
      ["x·Wᵀ up_proj f32", 0.75, 0.7, true, undefined],
      ["x·Wᵀ up_proj f32", 0.9, undefined, undefined, 0.9],
      ["SFT step", 0.9, 1, false, 0.9],
      ["greedy 16", 6, 5, true, 6],
    ]);
    expect(rows[3].against).toBe("tokens/s of torch 2.9.0+cu128: SFT step, PEFT, bf16 adapters on A card");
    expect(lines).toEqual([]);
  });

  it("are not compared with missing rows or other shapes", () => {
    const lines: string[] = [];
    expect(besideTorch(OURS, THEIRS.slice(0, 2), (line) => lines.push(line))).toHaveLength(2);
    expect(lines).toContain("SFT step is not compared: torch's rows have no SFT step, PEFT");
    const short = [torch("SFT step, PEFT, autocast", "24 layers, 4 × 512 tokens", { tokens_per_s: 1 })];
    expect(() => besideTorch(OURS, short, () => {})).toThrow(
      "Cannot compare SFT step of 24 layers, 4 × 1024 tokens with torch 2.9.0+cu128: SFT step, PEFT, autocast of 24 layers, 4 × 512",
    );
  });

  it("are read one per line; another line is refused by its number", () => {
    const path = join(folder, "rows.jsonl");
    writeFileSync(path, `${THEIRS.map((each) => JSON.stringify(each)).join("\n")}\n`);
    expect(readRows(path)).toEqual(THEIRS);
    writeFileSync(path, `${JSON.stringify(THEIRS[0])}\nTraceback (most recent call last):\n`);
    expect(() => readRows(path)).toThrow("line 2 is not a row: Traceback");
    writeFileSync(path, '{"what": 1}\n');
    expect(() => readRows(path)).toThrow("line 1 is not a row");
  });
});

it("the script measures the same model as Qwench's bench", () => {
  const text = readFileSync(new URL("../../bench/torch/bench.py", import.meta.url), "utf8");
  const config = benchModel();
  for (const name of ["hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size"] as const)
    expect(text, name).toContain(`"${name}": ${config[name]},`);
  expect(text).toContain("SEQUENCES, LENGTH, RANK = 4, 1024, 16\n");
  // its count of a step's FLOPs is ours
  const layer = 896 * 896 * 2 + 896 * 128 * 2 + 3 * 896 * 4864;
  const sums = 2 * 1792 + 2 * 1024 + 3 * 5760;
  const flops =
    24 * (4 * 4096 * layer + 6 * 4096 * 16 * sums) + 24 * 7 * 4 * 1024 ** 2 * 896 + 4 * 151936 * 896 * 4 * 1023;
  expect(modelFlops(config, 4096, 4 * 1023, 16, 4)).toBe(flops);
});
