import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { adafactorCases } from "../../../src/kernels/optimizer/adafactor.cases.ts";
import { adafactor, adafactorReference, factorsOf } from "../../../src/kernels/optimizer/adafactor.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("adafactor", adafactorCases);

interface Steps {
  shape: number[];
  learning_rate: number;
  weight_decay: number;
  param: number[];
  grads: number[][];
  /** the parameter after each step */
  want: number[][];
}

const file = new URL("./optimizers.json", import.meta.url);
const { adafactor: cases } = JSON.parse(readFileSync(file, "utf8")) as { adafactor: Steps[] };

it.each(cases.map((one) => [one.shape.join(" × "), one] as const))("takes transformers' steps: %s", (_, of) => {
  const { shape, learning_rate, weight_decay, grads, want } = of;
  const param = Float64Array.from(of.param);
  const factors = factorsOf(shape);
  const row = new Float64Array(factors?.rows ?? param.length);
  const column = factors && new Float64Array(factors.columns);
  grads.forEach((grad, i) => {
    const options = { learning_rate, weight_decay, step: i + 1 };
    adafactorReference(param, Float64Array.from(grad), { row, column }, 1, options);
    for (const [k, value] of want[i].entries()) expect(Math.abs(param[k] - value)).toBeLessThan(1e-12);
  });
});

const device = useGpu();

it.each([Number.NaN, Number.POSITIVE_INFINITY])("leaves everything as it is where the norm is %s", async (value) => {
  const gpu = device();
  const make = (label: string, shape: number[], fill: number) =>
    gpu.upload(new Float32Array(shape.reduce((a, b) => a * b)).fill(fill), shape, "f32", label, "scratch");
  const tensors = {
    param: make("param", [5, 7], 1),
    grad: make("grad", [5, 7], Number.NaN),
    row: make("row", [5], 2),
    column: make("column", [7], 3),
  };
  const norm = gpu.upload(Float32Array.of(value, 0), [2], "f32", "norm", "scratch");
  const record = gpu.recorder();
  adafactor(record, tensors, norm, { learning_rate: 0.1, weight_decay: 0.5, step: 3 });
  record.submit();
  expect(new Set(await gpu.readF32(tensors.param))).toEqual(new Set([1]));
  expect(new Set(await gpu.readF32(tensors.row))).toEqual(new Set([2]));
  expect(new Set(await gpu.readF32(tensors.column))).toEqual(new Set([3]));
  gpu.drop(norm, ...Object.values(tensors));
});

it("refuses moments of another shape", () => {
  const record = device().recorder();
  const make = (shape: number[], label: string) => record.empty(shape, "f32", label);
  const tensors = {
    param: make([4, 6], "param"),
    grad: make([4, 6], "grad"),
    row: make([4], "row"),
    column: make([5], "column"),
  };
  expect(() => adafactor(record, tensors, make([2], "norm"), { learning_rate: 1, weight_decay: 0, step: 1 })).toThrow(
    "param [4,6] has a gradient [4,6] and moments [4] and [5]",
  );
});
