import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { tokenFlops } from "../../bench/generate.ts";
import { median, randomTensor, rowsOf, type Subject, save, spread, tableOf } from "../../bench/rows.ts";
import { modelFlops } from "../../bench/sft.ts";
import { benchModel } from "../../bench/sizes.ts";
import { useGpu } from "../kernels/harness.ts";

const folder = mkdtempSync(join(tmpdir(), "qwench-bench-"));
afterAll(() => rmSync(folder, { recursive: true }));

const subject = (what: string, flops: number | null, against?: string): Subject => ({
  what,
  shape: "[1]",
  dtype: "f32",
  flops,
  against,
  run() {},
});

it("takes the middle of the rounds", () => {
  expect(median([9, 1, 5])).toBe(5);
  expect(median([4, 1, 2, 100])).toBe(3);
  expect(spread([10, 8, 14])).toBe(0.6);
});

describe("bench rows", () => {
  const gpu = useGpu();

  it("hold medians, GFLOP/s and the ratio of the rounds, not of the medians", () => {
    const subjects = [subject("plain", 4e6), subject("fused", null, "plain")];
    const rows = rowsOf(gpu(), subjects, [
      [2, 10, 4],
      [3, 11, 4],
    ]);
    expect(rows[0]).toMatchObject({ what: "plain", median_ms: 4, spread: 2, gflops: 1, ratio: null, against: null });
    expect(rows[1]).toMatchObject({ median_ms: 4, gflops: null, ratio: 1.1, against: "plain" });
    expect(rows[0].adapter).toBe(gpu().adapterName);
    expect(Date.parse(rows[0].date)).not.toBeNaN();
    const table = tableOf(rows);
    expect(table).toMatch(/fused +\[1\] +f32 +4\.00 +100 +1\.100 +plain/);

    const path = join(folder, "results.jsonl");
    save(path, rows);
    save(path, rows.slice(1));
    const lines = readFileSync(path, "utf8").trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toEqual([...rows, rows[1]]);
  });

  it("measure finite numbers that are not all alike", async () => {
    const tensor = randomTensor(gpu(), [1100, 1000], "bf16", "w"); // more than one block
    const words = new Uint16Array(await gpu().read(tensor));
    const values = new Float32Array(Uint32Array.from(words, (word) => word << 16).buffer);
    expect(values.every((v) => Math.abs(v) > 0 && Math.abs(v) < 1)).toBe(true);
    expect(new Set(values.subarray(0, 1000)).size).toBeGreaterThan(300);
    expect(Math.abs(values.reduce((sum, v) => sum + v, 0) / values.length)).toBeLessThan(0.01);
    gpu().drop(tensor);
  });
});

it("counts a step's FLOPs by its formula", () => {
  const linear = 2 * 896 * 896 + 2 * 896 * 128 + 3 * 896 * 4864;
  const low = 16 * (2 * 1792 + 2 * 1024 + 3 * 5760);
  const head = 4 * 151936 * 896;
  const attention = 7 * 256 * 256 * 896;
  expect(modelFlops(benchModel(1), 256, 255, 16)).toBe(4 * linear * 256 + 6 * low * 256 + attention + head * 255);
  expect(modelFlops(benchModel(), 256, 0, 16)).toBe(24 * modelFlops(benchModel(1), 256, 0, 16));
});

it("counts a decoded token's FLOPs by its formula", () => {
  const linear = 2 * 896 * 896 + 2 * 896 * 128 + 3 * 896 * 4864;
  const low = 16 * (2 * 1792 + 2 * 1024 + 3 * 5760);
  expect(tokenFlops(benchModel(3))).toBe(2 * (3 * linear + 151936 * 896));
  expect(tokenFlops(benchModel(3), 16)).toBe(2 * (3 * (linear + low) + 151936 * 896));
});
