import { expect, it } from "vitest";
import { gradientError } from "../../src/kernels/check.ts";
import { elementwiseCases } from "../../src/kernels/elementwise.cases.ts";
import {
  add,
  biasBackward,
  biasBackwardReference,
  gatherRows,
  gatherRowsReference,
  reduceSum,
  scatterRows,
  scatterRowsReference,
} from "../../src/kernels/elementwise.ts";
import { describeCases, useGpu } from "./harness.ts";

describeCases("element-wise", elementwiseCases);

const wave = (n: number, phase: number) => Float64Array.from({ length: n }, (_, i) => Math.sin(7 * i + phase));
const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, v, i) => sum + v * b[i], 0);

it("the reference gradients agree with finite differences", () => {
  const [x, bias, dy] = [wave(5 * 3, 1), wave(3, 2), wave(5 * 3, 3)];
  const biased = (b: Float64Array) => x.map((v, i) => v + b[i % 3]);
  expect(gradientError((b) => dot(biased(b), dy), bias, biasBackwardReference(dy, 3))).toBeLessThan(1e-7);
  const indices = [4, 0, 2];
  const drows = wave(3 * 3, 4);
  const gathered = (moved: Float64Array) => dot(gatherRowsReference(moved, 3, indices), drows);
  expect(gradientError(gathered, x, scatterRowsReference(drows, 3, indices, 5), 15)).toBeLessThan(1e-7);
});

const device = useGpu();

it("sums deterministically, and gives 0 for no elements", async () => {
  const gpu = device();
  const values = Float32Array.from({ length: 100_003 }, (_, i) => Math.sin(i * i));
  const x = gpu.upload(values, [values.length], "f32", "x", "scratch");
  const seen = new Set<number>();
  for (let n = 0; n < 4; n++) {
    const record = gpu.recorder();
    const read = record.read(reduceSum(record, x));
    record.submit();
    seen.add(new Uint32Array(await read)[0]);
  }
  expect(seen.size).toBe(1);
  const record = gpu.recorder();
  const read = record.read(reduceSum(record, record.empty([0], "f32", "nothing")));
  record.submit();
  expect(new Float32Array(await read)[0]).toBe(0);
  gpu.drop(x);
});

it("refuses shapes that do not fit, naming them", () => {
  const record = device().recorder();
  const make = (shape: number[], label: string) => record.empty(shape, "f32", label);
  expect(() => add(record, make([65], "x"), make([63], "y"))).toThrow("y [63] must have as many elements as x [65]");
  expect(() => gatherRows(record, make([5], "x"), make([2], "indices"))).toThrow("x [5]");
  expect(() => scatterRows(record, make([2, 8], "rows"), make([2], "indices"), make([5, 6], "into"))).toThrow(
    "into [5,6] must be [5,8]",
  );
  expect(() => biasBackward(record, make([5, 65], "dy"), make([63], "dbias"))).toThrow("dbias [63] must be [65]");
});
