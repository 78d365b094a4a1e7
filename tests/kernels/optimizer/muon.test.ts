import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { muonCases } from "../../../src/kernels/optimizer/muon.cases.ts";
import { type MuonSettings, muon, muonReference } from "../../../src/kernels/optimizer/muon.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("muon", muonCases);

interface Steps {
  shape: [number, number];
  learning_rate: number;
  weight_decay: number;
  /** arguments of torch.optim.Muon */
  settings: Omit<MuonSettings, "eps">;
  param: number[];
  grads: number[][];
  /** the parameter after each step */
  want: number[][];
}

const file = new URL("./optimizers.json", import.meta.url);
const { muon: cases } = JSON.parse(readFileSync(file, "utf8")) as { muon: Steps[] };

it.each(cases.map((one) => [one.shape.join(" × "), one] as const))("takes torch.optim.Muon's steps: %s", (_, of) => {
  const { shape, learning_rate, weight_decay, settings, grads, want } = of;
  const param = Float64Array.from(of.param);
  const momentum_buffer = new Float64Array(param.length);
  grads.forEach((values, i) => {
    const grad = Float64Array.from(values);
    const all = { param, grad, momentum_buffer };
    muonReference(all, shape, 1, { learning_rate, weight_decay }, { ...settings, eps: 1e-7 });
    for (const [k, value] of want[i].entries()) expect(Math.abs(param[k] - value)).toBeLessThan(1e-12);
  });
});

const device = useGpu();
const SETTINGS: MuonSettings = {
  momentum: 0.95,
  nesterov: true,
  ns_steps: 5,
  ns_coefficients: [3.4445, -4.775, 2.0315],
  eps: 1e-7,
  adjust_lr_fn: "original",
};

it("makes all singular values of a diagonal update nearly equal", () => {
  const shape = [4, 4] as const;
  const grad = new Float64Array(16);
  [1, 0.3, 0.1, 0.03].forEach((value, i) => {
    grad[5 * i] = value;
  });
  const param = new Float64Array(16);
  const rate = { learning_rate: 1, weight_decay: 0 };
  muonReference({ param, grad, momentum_buffer: new Float64Array(16) }, shape, 1, rate, SETTINGS);
  for (let i = 0; i < 4; i++) {
    expect(-param[5 * i]).toBeGreaterThan(0.65);
    expect(-param[5 * i]).toBeLessThan(1.25);
  }
});

it.each([Number.NaN, Number.POSITIVE_INFINITY])("leaves everything as it is where the norm is %s", async (value) => {
  const gpu = device();
  const make = (label: string, shape: number[], fill: number) =>
    gpu.upload(new Float32Array(shape.reduce((a, b) => a * b)).fill(fill), shape, "f32", label, "scratch");
  const tensors = {
    param: make("param", [5, 7], 1),
    grad: make("grad", [5, 7], Number.NaN),
    momentum_buffer: make("momentum_buffer", [5, 7], 2),
  };
  const norm = gpu.upload(Float32Array.of(value, 0), [2], "f32", "norm", "scratch");
  const record = gpu.recorder();
  muon(record, tensors, norm, { learning_rate: 0.1, weight_decay: 0.5 }, SETTINGS);
  record.submit();
  expect(new Set(await gpu.readF32(tensors.param))).toEqual(new Set([1]));
  expect(new Set(await gpu.readF32(tensors.momentum_buffer))).toEqual(new Set([2]));
  gpu.drop(norm, ...Object.values(tensors));
});

it("keeps a matrix without a gradient, up to its decay", async () => {
  const gpu = device();
  const zeros = (label: string) => gpu.upload(new Float32Array(35), [5, 7], "f32", label, "scratch");
  const param = gpu.upload(new Float32Array(35).fill(2), [5, 7], "f32", "param", "scratch");
  const tensors = { param, grad: zeros("grad"), momentum_buffer: zeros("momentum_buffer") };
  const norm = gpu.upload(Float32Array.of(0, 1), [2], "f32", "norm", "scratch");
  const record = gpu.recorder();
  muon(record, tensors, norm, { learning_rate: 0.5, weight_decay: 0.5 }, SETTINGS);
  record.submit();
  expect(new Set(await gpu.readF32(param))).toEqual(new Set([1.5]));
  gpu.drop(norm, ...Object.values(tensors));
});

it("refuses vectors, and gradients of another shape", () => {
  const record = device().recorder();
  const make = (shape: number[], label: string) => record.empty(shape, "f32", label);
  const update = (shape: number[], grad: number[]) =>
    muon(
      record,
      { param: make(shape, "param"), grad: make(grad, "grad"), momentum_buffer: make(shape, "m") },
      make([2], "norm"),
      { learning_rate: 1, weight_decay: 0 },
      SETTINGS,
    );
  expect(() => update([4], [4])).toThrow("param [4] by muon: it must be a matrix");
  expect(() => update([4, 6], [6, 4])).toThrow("grad [6,4] must be [4,6]");
});
