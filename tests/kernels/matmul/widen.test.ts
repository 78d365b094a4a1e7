import { describe, expect, it, vi } from "vitest";
import { Gpu } from "../../../src/gpu/device.ts";
import { fakeGpu } from "../../../src/gpu/fake-device.ts";
import type { AdapterProfile } from "../../../src/gpu/profile.ts";
import type { Tensor } from "../../../src/gpu/tensor.ts";
import { dequantizeNf4, encodeInt8, quantizeNf4 } from "../../../src/io/nf4.ts";
import { relativeError } from "../../../src/kernels/check.ts";
import { type Linear, type LinearGrads, oneLinear } from "../../../src/kernels/matmul/linear.ts";
import { loraLinear } from "../../../src/kernels/matmul/lora-linear.ts";
import { loraLinearBackward } from "../../../src/kernels/matmul/lora-linear-backward.ts";
import { widenCases } from "../../../src/kernels/matmul/widen.cases.ts";
import { widen } from "../../../src/kernels/matmul/widen.ts";
import { lcg } from "../../../src/text/hash.ts";
import { profileFor } from "../../gpu/adapters.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("widen", widenCases);

const gpu = useGpu();

it("refuses ranges between words, beyond an end, and matrices without codes", () => {
  const record = gpu().recorder();
  const codes = gpu().persistent([4, 64], "nf4", "w", "scratch");
  const wide = gpu().persistent([4, 64], "f32", "wide", "scratch");
  expect(() => widen(record, codes, wide, { first: 8, count: 32 })).toThrow(
    "Cannot widen elements 8 to 40 of w [4,64] nf4 to element 0 of wide [4,64] f32: a range must begin and end at multiples of 32",
  );
  expect(() => widen(record, codes, wide, { first: 32, count: 256 })).toThrow("elements 32 to 288 of w");
  expect(() => widen(record, codes, wide, { count: 64, at: 224 })).toThrow("longer than what is there");
  expect(() => widen(record, wide, wide, { count: 64 })).toThrow("int8 or nf4 become f32");
  gpu().drop(codes, wide);
});

const [ROWS, INNER, RANK] = [70, 64, 4];

/** Layers whose parts share a panel, have one each, or several. */
const LAYERS = {
  "q, k and v with rotary and bias": { outs: [256, 64, 64], bias: true, epilogue: "rotary", dropout: 0 },
  "q, k and v": { outs: [192, 64, 64], bias: true, epilogue: null, dropout: 0 },
  "gate and up with swiglu": { outs: [192, 192], bias: false, epilogue: "swiglu", dropout: 0 },
  "one layer": { outs: [320], bias: false, epilogue: null, dropout: 0.25 },
} as const;

type Name = keyof typeof LAYERS;

/** Random weights as codes, and their values. */
function quantised(dtype: "int8" | "nf4", w: Float32Array) {
  if (dtype === "nf4") {
    const { codes, absmax } = quantizeNf4(w);
    return { codes, scales: absmax, values: dequantizeNf4(codes, absmax, w.length) };
  }
  const [codes, scales] = [new Int8Array(w.length), new Float32Array(w.length / 64)];
  encodeInt8(w, codes, scales);
  return { codes, scales, values: Float32Array.from(codes, (code, i) => code * scales[i >> 6]) };
}

/**
 * y and the gradients of a layer, and the number of panels.
 *
 * @param dtype of the weight; `wide`: its values are stored as f32
 * @param panelBytes of the profile
 */
async function run(name: Name, dtype: "int8" | "nf4", wide: boolean, panelBytes: number) {
  const { device, features, profile, programs } = gpu();
  const on = new Gpu(device, { features, profile: { ...profile, panelBytes }, programs });
  const { outs, bias, epilogue, dropout } = LAYERS[name];
  const next = lcg(7);
  const random = (count: number) => Float32Array.from({ length: count }, () => (next() >>> 8) / 8388608 - 1);
  const width = outs.reduce((sum, out) => sum + out, 0);
  const given = (shape: number[], label: string, data = random(shape.reduce((n, d) => n * d, 1))) =>
    on.upload(data, shape, "f32", label, "scratch");
  const weight = on.frozen([width, INNER], wide ? "f32" : dtype, "w");
  const { codes, scales, values } = quantised(dtype, random(width * INNER));
  on.write(weight, wide ? values : codes);
  if (!wide) on.write(weight, scales, codes.length);
  const firsts = outs.map((_, i) => outs.slice(0, i).reduce((sum, out) => sum + out, 0));
  const lora = {
    a: given([outs.length * RANK, INNER], "lora_A"),
    b: given([width, RANK], "lora_B"),
    r: RANK,
    scale: 0.5,
    dropout,
    parts: outs.map((_, i) => ({ aAt: i * RANK * INNER, bAt: firsts[i] * RANK, index: i })),
  };
  const parts = outs.map((out, i) => ({ out, weightAt: firsts[i] * INNER, biasAt: firsts[i] }));
  const layer: Linear = { inner: INNER, weight, bias: bias ? given([width], "bias") : null, parts, lora };
  const [x, dy] = [given([ROWS, INNER], "x"), given([ROWS, width], "dy")];
  const positions = on.upload(
    Uint32Array.from({ length: ROWS }, (_, i) => i % 9),
    [ROWS],
    "u32",
    "positions",
    "scratch",
  );
  const table = given([9, 64], "table");
  const zeros = ({ shape, bytes, label }: Tensor) => given([...shape], `d.${label}`, new Float32Array(bytes / 4));
  const grads: LinearGrads = { weight: null, bias: null, loraA: zeros(lora.a), loraB: zeros(lora.b) };
  const record = on.recorder();
  const panel = vi.spyOn(on.storage, "panel");
  const { y, saved } = loraLinear(record, x, [layer], 5, {
    epilogue:
      epilogue === "rotary" ? { kind: "rotary", positions, table, headDim: 64 } : epilogue && { kind: "swiglu" },
  });
  const dx = loraLinearBackward(record, x, dy, [layer], { saved, grads: [grads], dropoutSeed: 5 })!;
  const reads = [y, dx, grads.loraA!, grads.loraB!].map((tensor) => record.read(tensor));
  record.submit();
  const results = (await Promise.all(reads)).map((data) => new Float32Array(data));
  await on.settle();
  await on.clear();
  return { results, panels: panel.mock.calls.length };
}

describe.each(["int8", "nf4"] as const)("a layer of %s by panels", (dtype) => {
  it.each(Object.keys(LAYERS) as Name[])("has the numbers of the same weights in f32: %s", async (name) => {
    const { results: want, panels: none } = await run(name, dtype, true, 32 << 10);
    expect(none).toBe(0);
    for (const [bytes, least] of [
      [32 << 10, 4],
      [1 << 20, 2],
    ] as const) {
      const { results, panels } = await run(name, dtype, false, bytes);
      expect(panels, `panels of ${bytes} bytes`).toBeGreaterThanOrEqual(least);
      results.forEach((values, i) => {
        const error = relativeError(values, want[i]);
        expect(error <= 1e-6, `${["y", "dx", "dA", "dB"][i]}: ${error}`).toBe(true);
      });
    }
  });
});

it("widens nothing where a panel holds less than a tile, for fewer than 64 rows, and on a GPU", () => {
  const panels = (profile: AdapterProfile, rows: number, dtype: "int8" | "bf16" = "int8") => {
    const on = fakeGpu({ limits: { maxBufferSize: 2 ** 28, maxStorageBufferBindingSize: 2 ** 27 }, profile });
    const record = on.recorder();
    const panel = vi.spyOn(on.storage, "panel");
    const layer = oneLinear(on.frozen([512, 256], dtype, "w"), null, null);
    loraLinear(record, record.empty([rows, 256], "f32", "x"), [layer], null);
    return panel.mock.calls.length;
  };
  const mesa = profileFor("llvmpipe of 256 bits");
  expect(panels({ ...mesa, panelBytes: 1 << 16 }, 64)).toBe(8);
  expect(panels(mesa, 64)).toBe(1);
  expect(panels({ ...mesa, panelBytes: (1 << 16) - 4 }, 64)).toBe(0);
  expect(panels(mesa, 63)).toBe(0);
  expect(panels(mesa, 64, "bf16")).toBe(0);
  expect(panels(profileFor("nvidia"), 256)).toBe(0);
});
