import { describe, expect, it } from "vitest";
import { makeBatch, pack, packRows } from "../../src/data/packing.ts";
import { epochOrder } from "../../src/data/sampler.ts";
import { DataError } from "../../src/errors.ts";
import { cpuTime } from "../cpu-time.ts";
import trl from "./cases/packing.json" with { type: "json" };

/** Reproducible pseudo-random lengths. */
const lengths = (n: number, max: number) =>
  Array.from(epochOrder(n, 0, 5), (v) => 1 + ((Math.imul(v, 2654435761) >>> 8) % max));
const total = (bin: { start: number; end: number }[]) => bin.reduce((sum, piece) => sum + piece.end - piece.start, 0);

/** Best fit by checking every bin. Of bins with equal room, the first to reach it wins, as in TRL's queue. */
function bestFitReference(sizes: number[], max: number): number[][] {
  const order = sizes.map((_, i) => i).sort((a, b) => Math.min(sizes[b]!, max) - Math.min(sizes[a]!, max) || a - b);
  const bins: { rows: number[]; room: number; changed: number }[] = [];
  for (const [step, row] of order.entries()) {
    const size = Math.min(sizes[row]!, max);
    const fitting = bins.filter((bin) => bin.room >= size).sort((a, b) => a.room - b.room || a.changed - b.changed);
    const bin = fitting[0] ?? { rows: [], room: max, changed: 0 };
    if (!fitting[0]) bins.push(bin);
    bin.rows.push(row);
    bin.room -= size;
    bin.changed = step;
  }
  return bins.map((bin) => bin.rows);
}

describe("pack", () => {
  it.each([1, 7, 64, 100])("bfd is best fit, every row once, no bin past the maximum (%i)", (max) => {
    const sizes = lengths(300, Math.ceil(max * 1.2));
    const bins = pack(sizes, { max_length: max });
    expect(bins.every((bin) => total(bin) <= max)).toBe(true);
    expect(
      bins
        .flat()
        .map((piece) => piece.row)
        .sort((a, b) => a - b),
    ).toEqual(sizes.map((_, i) => i));
    for (const piece of bins.flat()) expect([piece.start, piece.end]).toEqual([0, Math.min(sizes[piece.row]!, max)]);
    expect(bins.map((bin) => bin.map((piece) => piece.row))).toEqual(bestFitReference(sizes, max));
  });

  it.each(["bfd", "bfd_split"] as const)("%s fills the bins that TRL fills", (strategy) => {
    const bins = pack(trl[strategy].lengths, { max_length: 48, strategy });
    expect(bins.map((bin) => bin.map(({ row, start, end }) => [row, end - start]))).toEqual(trl[strategy].bins);
  });

  it("bfd_split keeps every token once", () => {
    const sizes = lengths(200, 50);
    const bins = pack(sizes, { max_length: 16, strategy: "bfd_split" });
    expect(bins.every((bin) => total(bin) <= 16)).toBe(true);
    const seen = sizes.map((size) => new Uint8Array(size));
    for (const { row, start, end } of bins.flat()) for (let i = start; i < end; i++) seen[row]![i]!++;
    expect(seen.every((row) => row.every((count) => count === 1))).toBe(true);
  });

  it("wrapped cuts one stream into full blocks", () => {
    expect(pack([3, 0, 4, 1], { max_length: 5, strategy: "wrapped" })).toEqual([
      [
        { row: 0, start: 0, end: 3 },
        { row: 2, start: 0, end: 2 },
      ],
      [
        { row: 2, start: 2, end: 4 },
        { row: 3, start: 0, end: 1 },
      ],
    ]);
  });

  it("is quick on GSM8K's size and ten times that", () => {
    const sizes = lengths(75_000, 400);
    const spent = cpuTime();
    const bins = pack(sizes, { max_length: 1024 });
    expect(spent()).toBeLessThan(4);
    expect(total(bins.flat()) / (bins.length * 1024)).toBeGreaterThan(0.97);
  });

  it("leaves out empty rows and refuses impossible sizes", () => {
    expect(pack([], { max_length: 4 })).toEqual([]);
    expect(pack([0, 2], { max_length: 4 })).toEqual([[{ row: 1, start: 0, end: 2 }]]);
    expect(() => pack([1], { max_length: 0 })).toThrow(DataError);
    expect(() => pack([1], { max_length: Number.NaN })).toThrow(DataError);
    expect(() => pack([1, 2.5], { max_length: 4 })).toThrow("Cannot pack row 2: its length is 2.5");
  });
});

/** Rows as plain arrays of numbers. */
function plain(bins: ReturnType<typeof packRows>): { input_ids: number[]; labels: number[] }[][] {
  return bins.map((bin) =>
    bin.map(({ input_ids, labels }) => ({ input_ids: Array.from(input_ids), labels: Array.from(labels) })),
  );
}

describe("packRows", () => {
  const rows = [
    { input_ids: [1, 2, 3], labels: [-100, 2, 3] },
    { input_ids: [4, 5], labels: [4, 5] },
  ];
  it("keeps sequences apart, or makes one of a wrapped bin", () => {
    expect(plain(packRows(rows, { max_length: 5 }))).toEqual([rows]);
    expect(plain(packRows(rows, { max_length: 4, strategy: "wrapped" }))).toEqual([
      [{ input_ids: [1, 2, 3, 4], labels: [-100, 2, 3, 4] }],
      [{ input_ids: [5], labels: [5] }],
    ]);
    expect(plain(packRows(rows, { max_length: 2 }))[0]).toEqual([{ input_ids: [1, 2], labels: [-100, 2] }]);
  });
});

describe("makeBatch", () => {
  it("restarts positions and never labels a first token", () => {
    const batch = makeBatch([
      { input_ids: [7, 8, 9], labels: [7, -100, 9] },
      { input_ids: [5], labels: [5] },
      { input_ids: [3, 4], labels: [-100, 4] },
    ]);
    expect(batch).toEqual({
      input_ids: Int32Array.of(7, 8, 9, 5, 3, 4),
      position_ids: Int32Array.of(0, 1, 2, 0, 0, 1),
      cu_seqlens: Int32Array.of(0, 3, 4, 6),
      labels: Int32Array.of(-100, -100, 9, -100, -100, 4),
    });
  });

  it("refuses rows that cannot be laid out", () => {
    expect(() => makeBatch([])).toThrow(DataError);
    expect(() => makeBatch([{ input_ids: [], labels: [] }])).toThrow("Cannot batch row 1");
    expect(() =>
      makeBatch([
        { input_ids: [1], labels: [1] },
        { input_ids: [1, 2], labels: [1] },
      ]),
    ).toThrow("row 2: it has 2 input_ids and 1 labels");
  });
});
