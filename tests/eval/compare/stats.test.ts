import { describe, expect, it } from "vitest";
import { bootstrapMeans, countFlips, quantile, standardDeviation } from "../../../src/eval/compare/stats.ts";

describe("bootstrapMeans", () => {
  const column = Float64Array.from({ length: 200 }, (_, i) => Math.sin(i) * 10 + 3);

  it("gives the interval of the standard error", () => {
    const [{ mean, low, high }] = bootstrapMeans([column], 0);
    const error = standardDeviation([...column]) / Math.sqrt(column.length);
    expect(mean).toBeCloseTo(column.reduce((a, b) => a + b) / 200, 12);
    expect(Math.abs(low - (mean - 1.96 * error))).toBeLessThan(0.1 * error);
    expect(Math.abs(high - (mean + 1.96 * error))).toBeLessThan(0.1 * error);
  });

  it("is the same for the same seed, for any other columns", () => {
    const [alone] = bootstrapMeans([column], 7, 500);
    expect(bootstrapMeans([column.map((x) => -x), column], 7, 500)[1]).toEqual(alone);
    expect(bootstrapMeans([column], 8, 500)[0].low).not.toBe(alone.low);
  });

  it("refuses columns of no or of different problems", () => {
    expect(() => bootstrapMeans([new Float64Array(0)], 0)).toThrow("Cannot resample columns of 0 problems");
    expect(() => bootstrapMeans([column, new Float64Array(3)], 0)).toThrow("columns of 200, 3 problems");
  });
});

it("quantile is linear between neighbours, as NumPy's", () => {
  expect(quantile([1, 2, 4, 8], 0.5)).toBe(3);
  expect(quantile([1, 2, 4, 8], 0.975)).toBeCloseTo(7.7, 12); // numpy.quantile([1, 2, 4, 8], 0.975)
  expect([quantile([5], 0), quantile([5], 1)]).toEqual([5, 5]);
});

it("countFlips counts changes, problems that change, and the share that never does", () => {
  const [y, n] = [true, false];
  expect(
    countFlips([
      [y, y, n, n],
      [y, n, n, y],
      [y, y, n, y],
    ]),
  ).toEqual({ flips: 3, flipping: 2, never: 50 });
});
