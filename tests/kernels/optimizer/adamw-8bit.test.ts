import { expect, it } from "vitest";
import { dequantizeBlocks, nearestCode, quantizeBlocks } from "../../../src/io/dynamic-map.ts";
import { type AdamWOptions, adamwReference } from "../../../src/kernels/optimizer/adamw.ts";
import { adamw8bitCases } from "../../../src/kernels/optimizer/adamw-8bit.cases.ts";
import {
  adamw8bit,
  adamw8bitReference,
  dequantize8bit,
  dynamicMap,
} from "../../../src/kernels/optimizer/adamw-8bit.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("adamw_8bit", adamw8bitCases);

it.each([true, false])("the dynamic map (signed %s) equals bitsandbytes'", (signed) => {
  const map = dynamicMap(signed);
  expect(map.length).toBe(256);
  expect(new Set(map).size).toBe(256);
  expect([...map]).toEqual([...map].sort((a, b) => a - b));
  expect(map[255]).toBe(1);
  expect(map[signed ? 127 : 0]).toBe(0);
  // the ends of the top level: midpoints of the first and the last of n bins of [0.1, 1]
  const bins = signed ? 64 : 128;
  expect(map[254]).toBeCloseTo(1 - 0.45 / bins, 12);
  expect(map[255 - bins]).toBeCloseTo(0.1 + 0.45 / bins, 12);
  expect(map[signed ? 128 : 1]).toBeCloseTo(signed ? 0.55e-6 : 0.325e-6, 15);
  if (signed) for (let i = 0; i < 127; i++) expect(map[i]).toBe(-map[254 - i]);
});

it("encodes the nearest value, and round-trips values of the map exactly", () => {
  for (const signed of [true, false]) {
    const map = dynamicMap(signed);
    for (const [code, value] of map.entries()) expect(nearestCode(map, value)).toBe(code);
    for (let n = 0; n < 500; n++) {
      const x = Math.sin(n) * 10 ** -(n % 8);
      const value = signed ? x : Math.abs(x);
      const best = map.reduce((least, entry) => Math.min(least, Math.abs(entry - value)), 2);
      expect(Math.abs(map[nearestCode(map, value)] - value)).toBe(best);
    }
    const { codes, absmax } = quantizeBlocks(
      Float64Array.from(map, (v) => 3 * v),
      signed,
    );
    expect([...codes]).toEqual([...map.keys()]);
    expect([...dequantizeBlocks(codes, absmax, signed)]).toEqual([...map].map((v) => v * 3));
    expect([...quantizeBlocks(new Float64Array(256), signed).absmax]).toEqual([0]);
  }
});

const OPTIONS: AdamWOptions = {
  learning_rate: 0.01,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weight_decay: 0,
  step: 1,
};

it("the first update equals 32-bit AdamW's: moments are rounded after use", () => {
  const wave = (phase: number) => Float64Array.from({ length: 256 }, (_, i) => Math.sin(7 * i + phase));
  const [param, grad] = [wave(1), wave(2)];
  const same = param.slice();
  const zero = new Float64Array(1);
  const state = { codes1: new Uint8Array(256).fill(127), absmax1: zero, codes2: new Uint8Array(256), absmax2: zero };
  adamw8bitReference(param, grad, state, 1, OPTIONS);
  adamwReference(same, grad, new Float64Array(256), new Float64Array(256), 1, OPTIONS);
  param.forEach((p, i) => {
    expect(p).toBeCloseTo(same[i], 12);
  });
});

const device = useGpu();

it("decodes all 256 codes of both maps", async () => {
  const gpu = device();
  const words = new Uint32Array(Uint8Array.from({ length: 256 }, (_, i) => i).buffer);
  const codes = gpu.upload(words, [256], "u8", "codes", "scratch");
  const absmax = gpu.upload(Float32Array.of(1), [1], "f32", "absmax", "scratch");
  for (const signed of [true, false]) {
    const record = gpu.recorder();
    const read = record.read(dequantize8bit(record, codes, absmax, signed));
    record.submit();
    const got = new Float32Array(await read);
    dynamicMap(signed).forEach((value, i) => {
      expect(Math.abs(got[i] - value) <= 3e-7 * Math.abs(value), `code ${i}: ${got[i]}, not ${value}`).toBe(true);
    });
  }
  gpu.drop(codes, absmax);
});

it("changes nothing if the norm is not finite, and refuses part of a block", async () => {
  const gpu = device();
  const make = (n: number, label: string, dtype: "f32" | "u8" = "f32") => {
    const words = new Uint32Array(dtype === "u8" ? n / 4 : n).fill(0x3f800000);
    return gpu.upload(words, [n], dtype, label, "scratch");
  };
  const tensors = {
    param: make(256, "param"),
    grad: make(256, "grad"),
    exp_avg_q: make(256, "exp_avg_q", "u8"),
    exp_avg_sq_q: make(256, "exp_avg_sq_q", "u8"),
    absmax1: make(1, "absmax1"),
    absmax2: make(1, "absmax2"),
  };
  const norm = gpu.upload(Float32Array.of(Number.NaN, 0), [2], "f32", "norm", "scratch");
  const record = gpu.recorder();
  adamw8bit(record, tensors, norm, OPTIONS);
  record.submit();
  for (const tensor of Object.values(tensors)) {
    expect(new Set(new Uint32Array(await gpu.read(tensor))), tensor.label).toEqual(new Set([0x3f800000]));
  }
  const short = { ...tensors, param: { ...tensors.param, shape: [255] } };
  expect(() => adamw8bit(record, short, norm, OPTIONS)).toThrow("param [255]: the number of elements must be a mult");
  gpu.drop(norm, ...Object.values(tensors));
});
