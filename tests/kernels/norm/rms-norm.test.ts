import { expect, it } from "vitest";
import { view } from "../../../src/gpu/tensor.ts";
import { gradientError } from "../../../src/kernels/check.ts";
import { rmsNormCases } from "../../../src/kernels/norm/rms-norm.cases.ts";
import { rmsNormBackwardReference, rmsNormReference } from "../../../src/kernels/norm/rms-norm.ts";
import { rmsNormLoraCases } from "../../../src/kernels/norm/rms-norm-lora.cases.ts";
import { rmsNormLora } from "../../../src/kernels/norm/rms-norm-lora.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("rms_norm", rmsNormCases);
describeCases("rms_norm_lora", rmsNormLoraCases);

const gpu = useGpu();

it("with LoRA, a row's bits do not depend on the number of rows", async () => {
  const [cols, r, most] = [512, 16, 64];
  const random = (...shape: number[]) => {
    const size = shape.reduce((a, b) => a * b);
    const values = Float32Array.from({ length: size }, (_, i) => Math.sin(12.9898 * i + size) % 1);
    return gpu().upload(values, shape, "f32", "random", "scratch");
  };
  const [x, delta, weight, a] = [random(most, cols), random(most, cols), random(cols), random(3 * r, cols)];
  const w = random(3 * 8, cols);
  const parts = [0, 1, 2].map((i) => ({ out: 8, weightAt: 8 * i * cols, biasAt: 0 }));
  const places = parts.map((_, i) => ({ aAt: i * r * cols, bAt: 8 * i * r, index: i }));
  const lora = { a, b: random(3 * 8, r), r, scale: 2, dropout: 0, parts: places };
  const layer = { inner: cols, weight: w, bias: null, parts, lora };
  const rows = async (m: number) => {
    const record = gpu().recorder();
    const reads = record.scope(() => {
      const { y, sum, h } = rmsNormLora(record, view(x, [m, cols]), { weight }, 1e-6, view(delta, [m, cols]), [layer]);
      return [record.read(y), record.read(sum), record.read(h[0]!)];
    });
    record.submit();
    const [y, sum, h] = (await Promise.all(reads)).map((data) => new Uint32Array(data));
    return { y: y.slice(0, cols), sum: sum.slice(0, cols), h: h.slice(0, 3 * r) };
  };
  const alone = await rows(1);
  for (const m of [2, 3, 16, 17, most]) expect(await rows(m), `${m} rows`).toEqual(alone);
  gpu().drop(x, delta, weight, a, w, lora.b);
});

it("the reference gradient agrees with finite differences", () => {
  const random = (n: number) => Float64Array.from({ length: n }, (_, i) => Math.sin(7 * i + n));
  const [x, weight, dy] = [random(3 * 13), random(13), random(3 * 13)];
  const dot = (y: Float64Array) => y.reduce((sum, v, i) => sum + v * dy[i], 0);
  const { dx, dweight } = rmsNormBackwardReference(x, weight, 1e-6, dy);
  expect(gradientError((moved) => dot(rmsNormReference(moved, weight, 1e-6)), x, dx)).toBeLessThan(1e-7);
  expect(gradientError((moved) => dot(rmsNormReference(x, moved, 1e-6)), weight, dweight)).toBeLessThan(1e-7);
});
