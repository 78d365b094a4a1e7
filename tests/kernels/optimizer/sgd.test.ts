import { expect, it } from "vitest";
import { sgdCases } from "../../../src/kernels/optimizer/sgd.cases.ts";
import { sgd, sgdReference } from "../../../src/kernels/optimizer/sgd.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("sgd", sgdCases);

const OPTIONS = { learning_rate: 0.1, weight_decay: 0.5 };

it("moves against the gradient and, by weight decay, towards 0", () => {
  const param = Float64Array.from([1, -1, 2]);
  sgdReference(param, Float64Array.from([4, 4, 0]), 0.5, OPTIONS);
  for (const [i, value] of [1 - 0.2 - 0.05, -1 - 0.2 + 0.05, 2 - 0.1].entries())
    expect(param[i]).toBeCloseTo(value, 12);
});

const device = useGpu();

it.each([Number.NaN, Number.POSITIVE_INFINITY])("leaves everything as it is where the norm is %s", async (value) => {
  const gpu = device();
  const make = (label: string, fill: number) =>
    gpu.upload(new Float32Array(65).fill(fill), [65], "f32", label, "scratch");
  const tensors = { param: make("param", 1), grad: make("grad", Number.NaN) };
  const norm = gpu.upload(Float32Array.of(value, 0), [2], "f32", "norm", "scratch");
  const record = gpu.recorder();
  sgd(record, tensors, norm, OPTIONS);
  record.submit();
  expect(new Set(await gpu.readF32(tensors.param))).toEqual(new Set([1]));
  gpu.drop(norm, ...Object.values(tensors));
});

it("refuses lengths that differ", () => {
  const record = device().recorder();
  const make = (n: number, label: string) => record.empty([n], "f32", label);
  const tensors = { param: make(64, "param"), grad: make(63, "grad") };
  expect(() => sgd(record, tensors, make(2, "norm"), OPTIONS)).toThrow("grad [63]");
});
