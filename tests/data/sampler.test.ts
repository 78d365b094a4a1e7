import { describe, expect, it } from "vitest";
import { epochOrder } from "../../src/data/sampler.ts";
import { DataError } from "../../src/errors.ts";

const sorted = (order: Uint32Array) => Array.from(order).sort((a, b) => a - b);
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i);

describe("epochOrder", () => {
  it("is a permutation: the same for the same arguments, different for another epoch or seed", () => {
    for (const n of [0, 1, 2, 7, 1000]) expect(sorted(epochOrder(n, 3, 42))).toEqual(upTo(n));
    const order = epochOrder(1000, 3, 42);
    expect(epochOrder(1000, 3, 42)).toEqual(order);
    for (const other of [epochOrder(1000, 4, 42), epochOrder(1000, 3, 43), epochOrder(1000, 3, 42 + 2 ** 32)]) {
      expect(other).not.toEqual(order);
    }
  });

  it("does not change from one release to the next: a resumed run depends on it", () => {
    expect(Array.from(epochOrder(8, 0, 42))).toEqual([0, 5, 7, 1, 2, 4, 6, 3]);
    expect(Array.from(epochOrder(8, 1, 42))).toEqual([7, 3, 5, 6, 2, 0, 1, 4]);
  });

  it("is fair: each row comes first about equally often", () => {
    const counts = new Array<number>(5).fill(0);
    for (let epoch = 0; epoch < 5000; epoch++) counts[epochOrder(5, epoch, 1)[0]!]!++;
    // 1000 expected, standard deviation 28
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });

  it("can keep the order of the rows", () => {
    expect(Array.from(epochOrder(5, 9, 9, "sequential"))).toEqual(upTo(5));
  });

  it("can put rows of similar length together, the longest first", () => {
    const lengths = upTo(1000).map((i) => (i * 7919) % 503);
    const order = epochOrder(1000, 0, 1, "group_by_length", { lengths, batch_size: 4 });
    expect(sorted(order)).toEqual(upTo(1000));
    expect(lengths[order[0]!]).toBe(502);
    let spread = 0;
    for (let i = 0; i < 1000; i += 4) {
      const batch = Array.from(order.subarray(i, i + 4), (row) => lengths[row]!);
      spread += Math.max(...batch) - Math.min(...batch);
    }
    // 300 and more when rows are drawn at random
    expect(spread / 250).toBeLessThan(25);
  });

  it("refuses invalid counts", () => {
    expect(() => epochOrder(-1, 0, 0)).toThrow(DataError);
    expect(() => epochOrder(3, 0.5, 0)).toThrow("epoch must be a whole number, not 0.5");
    expect(() => epochOrder(3, 0, Number.NaN)).toThrow("seed");
    expect(() => epochOrder(3, 0, 0, "group_by_length", { lengths: [1] })).toThrow("of 3 rows, but got 1");
  });
});
