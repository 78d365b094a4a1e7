import { expect, it } from "vitest";
import { ShapeError } from "../../../src/errors.ts";
import { gradientError } from "../../../src/kernels/check.ts";
import { rotaryCases } from "../../../src/kernels/rotary/rotary.cases.ts";
import { rotary, rotaryReference } from "../../../src/kernels/rotary/rotary.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("rotary", rotaryCases);

const wave = (n: number, phase: number) => Float64Array.from({ length: n }, (_, i) => Math.sin(7 * i + phase));

it("the inverse reference is the gradient of the forward one", () => {
  const [x, table, dy] = [wave(3 * 24, 1), wave(5 * 12, 2), wave(3 * 24, 3)];
  const positions = [0, 4, 2];
  const dot = (y: Float64Array) => y.reduce((sum, v, i) => sum + v * dy[i], 0);
  const dx = rotaryReference(dy, positions, table, 12, true);
  expect(gradientError((moved) => dot(rotaryReference(moved, positions, table, 12)), x, dx)).toBeLessThan(1e-7);
});

it("position 0 does not change a head, and pairs are (i, i + D/2)", () => {
  const table = Float64Array.from([1, 1, 0, 0, 0, 0, 1, 1]); // no turn, then a quarter
  expect([...rotaryReference(Float64Array.from([1, 2, 3, 4]), [0], table, 4)]).toEqual([1, 2, 3, 4]);
  expect([...rotaryReference(Float64Array.from([1, 2, 3, 4]), [1], table, 4)]).toEqual([-3, -4, 1, 2]);
});

const device = useGpu();

it("refuses rows that are not whole heads, naming the shapes", () => {
  const record = device().recorder();
  const make = (shape: number[], label: string) => record.empty(shape, "f32", label);
  const call = (q: number[], headDim: number, rows = 5) => {
    const turned = { positions: make([rows], "positions"), table: make([9, headDim], "table") };
    rotary(record, make(q, "q"), turned, { headDim, heads: 1 });
  };
  expect(() => call([5, 894], 64)).toThrow(ShapeError);
  expect(() => call([5, 894], 64)).toThrow("q [5,894], of 64 each");
  expect(() => call([5, 63], 63)).toThrow("even");
  expect(() => call([5, 64], 64, 4)).toThrow("positions [4] must be [5]");
});
