import { describe, expect, it } from "vitest";
import type { BenchRow } from "../../bench/rows.ts";
import {
  AXES,
  benchScale,
  expectedMs,
  fitsOf,
  type ScalePoint,
  valuesOf,
  withoutAttention,
} from "../../bench/scale.ts";
import { scaleFigure, scaleMarkdown } from "../../bench/scale-report.ts";
import type { Recorder } from "../../src/gpu/recorder.ts";
import { useGpu } from "../kernels/harness.ts";

it("doubles an axis up to its end", () => {
  expect(valuesOf("length", 4096)).toEqual([256, 512, 1024, 2048, 4096]);
  expect(valuesOf("length", 5000)).toEqual([256, 512, 1024, 2048, 4096]);
  expect(valuesOf("length", 32768).at(-1)).toBe(32768);
  expect(valuesOf("batch", 512)).toEqual([1, 2, 4, 8, 16]);
});

it("leaves only attention out of a recording", () => {
  const seen: string[] = [];
  const record = { dispatch: (shader: () => string) => void seen.push(shader.name) } as unknown as Recorder;
  const filtered = withoutAttention(record);
  const shader = (name: string) => Object.defineProperty(() => "", "name", { value: name });
  for (const name of ["rmsNorm", "attention", "attentionBackwardQ", "matmul", "attentionBackwardKv"])
    filtered.dispatch(shader(name), {}, {}, {}, 1);
  expect(seen).toEqual(["rmsNorm", "matmul"]);
});

/** A value with milliseconds of each part; without them, one that was left out. */
function point(axis: ScalePoint["axis"], x: number, bytes: number | null, parts: Record<string, number>): ScalePoint {
  const rows = Object.entries(parts).map(([part, ms]) => {
    const row = { what: `scale by ${axis}: ${part}`, shape: "", median_ms: ms, cpu_ms: 2 * ms, x, tokens_per_s: 1000 };
    return row as unknown as BenchRow;
  });
  return { axis, x, bytes, rows, left: rows.length > 0 ? null : "as it takes too long" };
}

const POINTS = [
  point("generations", 1, null, { "decoding pass": 10 }),
  point("generations", 2, null, { "decoding pass": 12 }),
  point("length", 256, 100e6, { "SFT step": 512, "all but attention": 256 }),
  point("length", 512, 200e6, { "SFT step": 1536, "all but attention": 512 }),
  point("length", 1024, 400e6, {}),
];

it("draws time a token, and memory, over tokens", () => {
  const svg = scaleFigure(POINTS);
  expect(svg.match(/>tokens</g)).toHaveLength(3);
  expect(svg).not.toContain(">step<");
  // each point's numbers go along: tokens, then milliseconds a token or MB
  const drawn = [...svg.matchAll(/,(\d+),&quot;([\d.]+)&quot;\]/g)].map(([, x, y]) => [+x, +y]);
  expect(drawn).toEqual([
    [256, 2],
    [512, 3],
    [256, 1],
    [512, 1],
    [256, 100],
    [512, 200],
    [1024, 400],
  ]);
  expect(svg).toContain("all a=1.58");
  expect(svg).toContain("no attention a=1.00");
});

it("lists every value in a table, including omitted ones, with the exponents", () => {
  const text = scaleMarkdown(POINTS, "some adapter", 4096);
  expect(text).toContain("some adapter");
  expect(text).toContain("| 256 | 0.512 | 0.256 | 1000 | 100 |  |");
  expect(text).toContain("| 1024 |  |  |  | 400 | left out |");
  expect(text).toContain("all but attention ∝ length^1.00 (by CPU time 1.00), 256 to 512");
  expect(text).toContain("| 2 | 0.0120 | 1000 |  |");
  expect(text).not.toContain("Rank");
});

it("expects a value to take twice as long as the previous one, or more if it grew by more", () => {
  expect(expectedMs([])).toBe(0);
  expect(expectedMs([100])).toBe(250);
  expect(expectedMs([100, 120])).toBe(240);
  expect(expectedMs([100, 300])).toBeCloseTo(1080, 9);
  expect(expectedMs([100, 300], 2)).toBeCloseTo(3888, 9);
  expect(expectedMs([100, 900])).toBeCloseTo(3780, 9); // no step grows by more than its attention
});

it("judges the exponent only in the limit's measured range", () => {
  const fitTo = (last: number, most: number) => {
    const points = valuesOf("length", last).map((x) =>
      point("length", x, 1, { "SFT step": x, "all but attention": x }),
    );
    return fitsOf("length", most, points)[1];
  };
  expect(fitTo(4096, 32768)).toMatchObject({ shape: "length 256 to 4096", most: 1.05, met: true });
  expect(fitTo(2048, 32768)).not.toHaveProperty("met");
  expect(fitTo(8192, 32768)).not.toHaveProperty("met");
  expect(fitsOf("length", 4096, POINTS.slice(2, 3))).toEqual([]);
});

describe("a run by size", () => {
  const gpu = useGpu();
  const known = AXES.flatMap((axis) =>
    valuesOf(axis, 4096).flatMap((x) => {
      const names = axis === "generations" ? ["decoding pass"] : ["SFT step", "all but attention"];
      return point(axis, x, null, Object.fromEntries(names.map((name) => [name, x]))).rows;
    }),
  );

  it("continues an interrupted run: nothing is measured twice", async () => {
    const [rows, lines]: [BenchRow[], string[]] = [[], []];
    let all: readonly ScalePoint[] = [];
    const options = { rounds: 1, most: 4096, seconds: 60, known };
    const emit = (fresh: readonly BenchRow[], points: readonly ScalePoint[]) => {
      rows.push(...fresh);
      all = points;
    };
    await benchScale(gpu(), options, emit, (line) => lines.push(line));
    expect(rows.every(({ what }) => what.includes("exponent"))).toBe(true);
    expect(rows).toHaveLength(11); // one of generations, two of each other
    expect(all).toHaveLength(known.length / 2 + 7 / 2);
    expect(all.every(({ axis, bytes }) => (axis === "generations" ? bytes === null : bytes! > 1e6))).toBe(true);
    expect(lines.filter((line) => !line.includes("cannot run it"))).toEqual([]);
  });

  it("leaves out sizes beyond the budget, with a note, but forecasts their memory", async () => {
    const lines: string[] = [];
    let all: readonly ScalePoint[] = [];
    const some = known.filter(({ what, x }) => !/by (length|narrow)/.test(what) || x! < 1024);
    const options = { rounds: 1, most: 32768, seconds: 1e-3, known: some };
    const emit = (_: readonly BenchRow[], points: readonly ScalePoint[]) => {
      all = points;
    };
    await benchScale(gpu(), options, emit, (line) => lines.push(line));
    const lengths = lines.filter((line) => /^(length|narrow)/.test(line));
    expect(lengths).toHaveLength(12); // 1024 to 32768
    expect(lengths[0]).toMatch(/^length 1024: skipped, as a step would take about 2 s, and 0 s are left$/);
    for (const axis of ["length", "narrow"]) {
      const last = all.findLast((point) => point.axis === axis)!;
      expect(last).toMatchObject({ x: 32768, rows: [] });
      expect(last.bytes).toBeGreaterThan(5e8);
    }
  });
});
