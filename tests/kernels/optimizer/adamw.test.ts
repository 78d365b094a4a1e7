import { expect, it } from "vitest";
import { ShapeError } from "../../../src/errors.ts";
import type { Gpu } from "../../../src/gpu/device.ts";
import { part, ranges } from "../../../src/kernels/grid.ts";
import { adamwCases } from "../../../src/kernels/optimizer/adamw.cases.ts";
import { type AdamWOptions, adamw, adamwReference } from "../../../src/kernels/optimizer/adamw.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("adamw", adamwCases);

const OPTIONS: AdamWOptions = {
  learning_rate: 0.1,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weight_decay: 0.5,
  step: 1,
};

it("the first update moves by the learning rate against the sign of the gradient, after the decay", () => {
  const param = Float64Array.from([1, 1, 1]);
  const [m, v] = [new Float64Array(3), new Float64Array(3)];
  adamwReference(param, Float64Array.from([4, -4, 0]), m, v, 0.5, OPTIONS);
  expect(param[0]).toBeCloseTo(0.95 - 0.1, 7);
  expect(param[1]).toBeCloseTo(0.95 + 0.1, 7);
  expect(param[2]).toBeCloseTo(0.95, 12);
  expect(m[0]).toBeCloseTo(0.2, 12);
  expect(v[0]).toBeCloseTo(0.04, 12);
});

const device = useGpu();

function state(gpu: Gpu, n: number) {
  const make = (label: string, value: number) =>
    gpu.upload(new Float32Array(n).fill(value), [n], "f32", label, "scratch");
  return {
    param: make("param", 1),
    grad: make("grad", Number.NaN),
    exp_avg: make("exp_avg", 2),
    exp_avg_sq: make("exp_avg_sq", 3),
  };
}

it.each([Number.NaN, Number.POSITIVE_INFINITY])("changes nothing if the norm is %s", async (value) => {
  const gpu = device();
  const tensors = state(gpu, 65);
  const norm = gpu.upload(Float32Array.of(value, 0), [2], "f32", "norm", "scratch");
  const record = gpu.recorder();
  adamw(record, tensors, norm, OPTIONS);
  record.submit();
  expect(new Set(await gpu.readF32(tensors.param))).toEqual(new Set([1]));
  expect(new Set(await gpu.readF32(tensors.exp_avg))).toEqual(new Set([2]));
  expect(new Set(await gpu.readF32(tensors.exp_avg_sq))).toEqual(new Set([3]));
  gpu.drop(norm, ...Object.values(tensors));
});

it("splits a long array at binding alignments", () => {
  const record = device().recorder();
  const parts = ranges(record, 1000, 64, 300);
  expect(parts).toEqual([
    { start: 0, count: 256 },
    { start: 256, count: 256 },
    { start: 512, count: 256 },
    { start: 768, count: 232 },
  ]);
  expect(ranges(record, 0, 64)).toEqual([]);
  const whole = record.empty([1000], "f32", "whole");
  for (const { start, count } of parts) expect(part(whole, start, count).offset % 256).toBe(0);
});

it("refuses lengths that differ and steps before the first", () => {
  const record = device().recorder();
  const make = (n: number, label: string) => record.empty([n], "f32", label);
  const tensors = {
    param: make(64, "param"),
    grad: make(63, "grad"),
    exp_avg: make(64, "m"),
    exp_avg_sq: make(64, "v"),
  };
  const norm = make(2, "norm");
  expect(() => adamw(record, tensors, norm, OPTIONS)).toThrow("grad [63]");
  expect(() => adamw(record, { ...tensors, grad: tensors.param }, norm, { ...OPTIONS, step: 0 })).toThrow(ShapeError);
});
