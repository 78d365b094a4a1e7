import { expect, it } from "vitest";
import { gradNormCases } from "../../../src/kernels/optimizer/grad-norm.cases.ts";
import { gradNorm, gradNormReference } from "../../../src/kernels/optimizer/grad-norm.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("grad_norm", gradNormCases);

const device = useGpu();

it.each([
  ["NaN", Number.NaN, 65],
  ["infinite", Number.POSITIVE_INFINITY, 894],
  ["infinite, in a vec4", Number.NEGATIVE_INFINITY, 896],
  ["NaN, in a vec4", Number.NaN, 100_000],
])("a gradient that is %s makes the norm not finite and the scale 0", async (_, value, length) => {
  const gpu = device();
  const values = new Float32Array(length).fill(0.25);
  values[length - 2] = value;
  const bad = gpu.upload(values, [length], "f32", "bad", "scratch");
  const good = gpu.upload(new Float32Array(8).fill(1), [8], "f32", "good", "scratch");
  const record = gpu.recorder();
  const read = record.read(gradNorm(record, [good, bad, good], 1));
  record.submit();
  const [norm, scale] = new Float32Array(await read, 0, 2);
  expect(Number.isFinite(norm)).toBe(false);
  expect(scale).toBe(0);
  gpu.drop(bad, good);
});

it("a norm that overflows f32 is infinite, and the scale is 0", async () => {
  const gpu = device();
  const huge = gpu.upload(new Float32Array(7).fill(3e30), [7], "f32", "huge", "scratch");
  const record = gpu.recorder();
  const read = record.read(gradNorm(record, [huge], 1));
  record.submit();
  expect([...new Float32Array(await read, 0, 2)]).toEqual([Number.POSITIVE_INFINITY, 0]);
  gpu.drop(huge);
});

it("gives the same bits every time", async () => {
  const gpu = device();
  const values = Float32Array.from({ length: 300_001 }, (_, i) => Math.sin(i * i));
  const grad = gpu.upload(values, [values.length], "f32", "grad", "scratch");
  const seen = new Set<number>();
  for (let n = 0; n < 4; n++) {
    const record = gpu.recorder();
    const read = record.read(gradNorm(record, [grad], 1));
    record.submit();
    seen.add(new Uint32Array(await read)[0]);
  }
  expect(seen.size).toBe(1);
  gpu.drop(grad);
});

it("clips like torch: maxNorm / (norm + 1e-6), and not at all if maxNorm is 0 or less", () => {
  const grad = Float64Array.from([3, 4]);
  expect(gradNormReference([grad], 1)).toEqual([5, 1 / (5 + 1e-6)]);
  expect(gradNormReference([grad], 0)).toEqual([5, 1]);
  expect(gradNormReference([grad], -1)).toEqual([5, 1]);
  expect(() => gradNorm(device().recorder(), [], 1)).toThrow("no gradients");
});
