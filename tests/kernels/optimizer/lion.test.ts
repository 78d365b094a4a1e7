import { expect, it } from "vitest";
import { lionCases } from "../../../src/kernels/optimizer/lion.cases.ts";
import { lion, lionReference } from "../../../src/kernels/optimizer/lion.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("lion", lionCases);

const OPTIONS = { learning_rate: 0.1, beta1: 0.9, beta2: 0.99, weight_decay: 0.5 };

it("moves by the learning rate against the sign of moment and gradient together, after the decay", () => {
  const param = Float64Array.from([1, 1, 1, 1]);
  const m = Float64Array.from([0, 0, 1, 0]);
  lionReference(param, Float64Array.from([4, -4, -8, 0]), m, 0.5, OPTIONS);
  const want = [0.95 - 0.1, 0.95 + 0.1, 0.95 - 0.1, 0.95]; // 0.9·1 + 0.1·(−4) is above 0
  for (const [i, value] of want.entries()) expect(param[i]).toBeCloseTo(value, 12);
  expect(m[0]).toBeCloseTo(0.02, 12);
  expect(m[2]).toBeCloseTo(0.99 - 0.04, 12);
});

const device = useGpu();

it.each([Number.NaN, Number.POSITIVE_INFINITY])("leaves everything as it is where the norm is %s", async (value) => {
  const gpu = device();
  const make = (label: string, fill: number) =>
    gpu.upload(new Float32Array(65).fill(fill), [65], "f32", label, "scratch");
  const tensors = { param: make("param", 1), grad: make("grad", Number.NaN), exp_avg: make("exp_avg", 2) };
  const norm = gpu.upload(Float32Array.of(value, 0), [2], "f32", "norm", "scratch");
  const record = gpu.recorder();
  lion(record, tensors, norm, OPTIONS);
  record.submit();
  expect(new Set(await gpu.readF32(tensors.param))).toEqual(new Set([1]));
  expect(new Set(await gpu.readF32(tensors.exp_avg))).toEqual(new Set([2]));
  gpu.drop(norm, ...Object.values(tensors));
});

it("refuses lengths that differ", () => {
  const record = device().recorder();
  const make = (n: number, label: string) => record.empty([n], "f32", label);
  const tensors = { param: make(64, "param"), grad: make(63, "grad"), exp_avg: make(64, "exp_avg") };
  expect(() => lion(record, tensors, make(2, "norm"), OPTIONS)).toThrow("grad [63]");
});
