import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { judged, meets, productLimit } from "../../bench/limits.ts";
import { fitPower, interleave, median, ratioOf, type Subject, spread, type Time } from "../../bench/measure.ts";
import { randomTensor } from "../../bench/operands.ts";
import { bestOf, limitOf, rowsOf, save, tableOf } from "../../bench/rows.ts";
import { benchModel, modelFlops, tokenFlops } from "../../bench/sizes.ts";
import { useGpu } from "../kernels/harness.ts";

const folder = mkdtempSync(join(tmpdir(), "qwench-bench-"));
afterAll(() => rmSync(folder, { recursive: true }));

const subject = (what: string, flops: number | null, more: Partial<Subject> = {}): Subject => ({
  what,
  shape: "[1]",
  dtype: "f32",
  flops,
  run() {},
  ...more,
});
/** Rounds of these milliseconds; CPU time is the square. */
const rounds = (...ms: number[]): Time[] => ms.map((one) => ({ ms: one, cpu: one ** 2 }));

it("uses the median of the rounds", () => {
  expect(median([9, 1, 5])).toBe(5);
  expect(median([4, 1, 2, 100])).toBe(3);
  expect(spread([10, 8, 14])).toBe(0.6);
});

it("computes ratios round by round, by the clock and by CPU time", () => {
  const [over, under] = [rounds(3, 11, 4), rounds(2, 10, 4)];
  expect(ratioOf(over, under)).toBe(1.1);
  expect(ratioOf(over, under, "cpu")).toBeCloseTo(1.21, 12);
  expect(ratioOf(over, under, "ms", 2)).toBe(2.2);
});

describe("a fitted power", () => {
  it("is the exponent of points on a power law", () => {
    const { exponent, worst } = fitPower([256, 512, 4096].map((x) => [x, 3 * x ** 1.25]));
    expect(exponent).toBeCloseTo(1.25, 12);
    expect(worst).toBeLessThan(1e-12);
  });

  it("reports the largest deviation", () => {
    const { exponent, worst } = fitPower([
      [1, 1],
      [2, 2 * 1.1],
      [4, 4],
    ]);
    expect(exponent).toBeCloseTo(1, 12);
    expect(worst).toBeGreaterThan(0.06);
    expect(worst).toBeLessThan(0.1);
  });

  it("is not computed from one length, or without a time", () => {
    expect(() => fitPower([[256, 1]])).toThrow("two different x");
    expect(() =>
      fitPower([
        [1, 0],
        [2, 1],
      ]),
    ).toThrow("above 0");
  });
});

describe("limits", () => {
  it("are met at the limit itself", () => {
    expect(meets(2, { least: 2 })).toBe(true);
    expect(meets(1.99, { least: 2 })).toBe(false);
    expect(meets(22, { most: 22 })).toBe(true);
    expect(meets(22.1, { most: 22 })).toBe(false);
    expect(meets(Number.NaN, { least: 0 })).toBe(false);
    expect(limitOf({ least: 0.9 })).toBe("≥ 0.9");
    expect(limitOf({ most: 3 })).toBe("≤ 3");
    expect(limitOf({})).toBe("");
  });

  it("of the product beside peers depend on the adapter", () => {
    expect(productLimit("google swiftshader SwiftShader Device")).toEqual({ least: 1.3 });
    expect(productLimit("mesa software llvmpipe")).toEqual({ least: 2 });
  });
});

describe("bench rows", () => {
  const gpu = useGpu();

  it("hold medians, GFLOP/s and the ratio of the rounds, not of the medians", () => {
    const subjects = [subject("plain", 4e6), subject("fused", null, { against: "plain", tokens: 8 })];
    const rows = rowsOf(gpu(), subjects, [rounds(2, 10, 4), rounds(3, 11, 4)]);
    expect(rows[0]).toMatchObject({ what: "plain", median_ms: 4, spread: 2, gflops: 1, ratio: null, against: null });
    expect(rows[0]).not.toHaveProperty("share");
    expect(rows[1]).toMatchObject({ median_ms: 4, gflops: null, ratio: 1.1, against: "plain", tokens_per_s: 2000 });
    expect(rows[0].adapter).toBe(gpu().adapterName);
    expect(Date.parse(rows[0].date)).not.toBeNaN();
    const table = tableOf(rows);
    expect(table).toMatch(/fused +\[1\] +f32 +4\.00 +100 +2000\.0 +16\.0 +1\.100 +1\.210 +plain/);
    expect(table).not.toContain("peers"); // no row has any

    const path = join(folder, "results.jsonl");
    save(path, rows);
    save(path, rows.slice(1));
    const lines = readFileSync(path, "utf8").trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toEqual([...rows, rows[1]]);
  });

  it("hold the share of the best matmul of the same rounds", () => {
    const subjects = [
      subject("step", 40e6),
      subject("slow", 4e6, { yardstick: true }),
      subject("best", 8e6, { yardstick: true }),
    ];
    const times = [rounds(20, 20, 40), rounds(4, 4, 4), rounds(2, 4, 2)];
    expect(bestOf(subjects, times)).toBe(2);
    expect(bestOf(subjects.slice(0, 1), times)).toBe(-1);
    const [step, slow, best] = rowsOf(gpu(), subjects, times);
    expect(best.share).toBe(1);
    expect(slow.share).toBe(0.25); // of 1/4, 1/2, 1/4
    expect(step.share).toBe(0.5); // of 5·(2/20, 4/20, 2/40)
    expect(step.cpu_share).toBeCloseTo(5 * (4 / 400), 12);
  });

  it("state the requirement and the result, by the clock", () => {
    const [plain] = rowsOf(gpu(), [subject("plain", 4e6)], [rounds(2)]);
    const row = judged(plain, { what: "named" }, { ms: 0.8, cpu: 0.95 }, { least: 0.9 }, "time of other");
    expect(row).toMatchObject({ what: "named", ratio: 0.8, cpu_ratio: 0.95, least: 0.9, met: false });
    expect(row).not.toHaveProperty("most");
    expect(tableOf([row])).toMatch(/0\.800 +0\.950 +≥ 0\.9 +NO +time of other/);
    expect(tableOf([judged(plain, {}, { ms: 3, cpu: 9 }, { most: 3 }, "it")])).toMatch(/≤ 3 +yes/);
  });

  it("alternate: short measurements are repeated, and first runs do not count", async () => {
    const asked: string[] = [];
    const timed =
      (name: string, ...ms: number[]) =>
      async (times: number) => {
        asked.push(`${name}${times}`);
        return { ms: ms.length > 1 ? ms.shift()! : ms[0], cpu: 1 };
      };
    const subjects = [{ run: { timed: timed("short", 150, 5) } }, { run: { timed: timed("long", 900, 300) } }];
    const times = await interleave(gpu(), subjects, 2, 20);
    expect(times.map((rounds) => rounds.map(({ ms }) => ms))).toEqual([
      [5, 5],
      [300, 300],
    ]);
    expect(asked).toEqual(["short1", "short1", "long1", "short4", "long1", "short4", "long1"]);
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
  // four sequences attend to themselves only
  expect(modelFlops(benchModel(1), 256, 0, 16) - modelFlops(benchModel(1), 256, 0, 16, 4)).toBe(0.75 * attention);
  expect(modelFlops(benchModel(1), 256, 255, 16) - modelFlops(benchModel(1, 4096), 256, 255, 16)).toBe(
    4 * (151936 - 4096) * 896 * 255,
  );
});

it("counts a decoded token's FLOPs by its formula", () => {
  const linear = 2 * 896 * 896 + 2 * 896 * 128 + 3 * 896 * 4864;
  const low = 16 * (2 * 1792 + 2 * 1024 + 3 * 5760);
  expect(tokenFlops(benchModel(3))).toBe(2 * (3 * linear + 151936 * 896));
  expect(tokenFlops(benchModel(3), 16)).toBe(2 * (3 * (linear + low) + 151936 * 896));
});
