import { afterAll, beforeAll, expect, it } from "vitest";
import type { Gpu } from "../../../src/gpu/device.ts";
import { relativeError } from "../../../src/kernels/check.ts";
import { matmulReference } from "../../../src/kernels/matmul/matmul.ts";
import { matrixFactorsCases } from "../../../src/kernels/matmul/matrix-factors.cases.ts";
import { recordProduct } from "../../../src/kernels/matmul/product.ts";
import { ownGpu } from "../../gpu/open.ts";
import { describeCases } from "../harness.ts";

describeCases("products of trained matrices on matrix units", matrixFactorsCases);

let gpu: Gpu;
beforeAll(async () => {
  gpu = await ownGpu({ disable: ["textures"] });
  if (gpu.features.f16)
    gpu.features.matrix = { type: "f16", m: 16, n: 16, k: 16, size: 64, multiple: 64, emulate: true };
  gpu.precision = "high";
});
afterAll(() => gpu.destroy());

const wave = (count: number, step: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(step * i * i));

it.each([
  // LoRA of three projections over 600 tokens: a sum that is split, parts that lie in columns of their own, adjacent factors
  ["x·Aᵀ", { transA: false, transB: true, parts: [{ m: 600, n: 24, k: 64 }], lda: 64, ldb: 64, cols: 24 }],
  [
    "dy·B of three",
    {
      transA: false,
      transB: false,
      parts: [0, 1, 2].map((i) => ({ m: 600, n: 8, k: 64, aAt: 64 * i, bAt: 64 * 8 * i, cAt: 8 * i })),
      lda: 192,
      ldb: 8,
      cols: 24,
    },
  ],
  [
    "dyᵀ·h of three",
    {
      transA: true,
      transB: false,
      parts: [0, 1, 2].map((i) => ({ m: 96, n: 8, k: 600, aAt: 96 * i, bAt: 8 * i, cAt: 96 * 8 * i })),
      lda: 288,
      ldb: 24,
      cols: 8,
    },
  ],
  [
    "dhᵀ·x of three, adjacent",
    {
      transA: true,
      transB: false,
      parts: [0, 1, 2].map((i) => ({ m: 8, n: 128, k: 600, aAt: 8 * i, cAt: 8 * 128 * i })),
      lda: 24,
      ldb: 128,
      cols: 128,
    },
  ],
] as const)("%s is computed by matrix units, and right", async (_, { transA, transB, parts, lda, ldb, cols }) => {
  const { m, n, k } = parts[0];
  const rows = transA ? k : m;
  const a = gpu.upload(wave(rows * lda, 0.31), [rows, lda], "f32", "a", "scratch");
  const [bRows, bCount] = [transB ? n : k, (parts.at(-1)! as { bAt?: number }).bAt ?? 0];
  const b = gpu.upload(wave(bCount + bRows * ldb, 0.17), [bCount + bRows * ldb], "f32", "b", "scratch");
  const outputs = Math.max(
    ...parts.map((part) => ((part as { cAt?: number }).cAt ?? 0) + (part.m - 1) * cols + part.n),
  );
  const c = gpu.upload(wave(outputs, 0.05), [outputs], "f32", "c", "scratch");
  const record = gpu.recorder();
  const product = { a, b, c, transA, transB, lda, ldb, rowStride: cols, colStride: 1, parts };
  recordProduct(record, { ...product, alpha: 0.5, accumulate: true, shared: true });
  const read = record.read(c);
  record.submit();
  const got = new Float32Array(await read);
  const want = Float64Array.from(wave(outputs, 0.05));
  const [left, right] = [wave(rows * lda, 0.31), wave(bCount + bRows * ldb, 0.17)];
  for (const part of parts) {
    const { aAt = 0, bAt = 0, cAt = 0 } = part as { aAt?: number; bAt?: number; cAt?: number };
    const pick = (of: Float32Array, at: number, ld: number, height: number, width: number) =>
      Float64Array.from({ length: height * width }, (_, i) => of[at + Math.floor(i / width) * ld + (i % width)]);
    const x = transA ? pick(left, aAt, lda, k, m) : pick(left, aAt, lda, m, k);
    const w = transB ? pick(right, bAt, ldb, n, k) : pick(right, bAt, ldb, k, n);
    matmulReference(x, w, [m, n, k], { transA, transB }).forEach((v, i) => {
      want[cAt + Math.floor(i / n) * cols + (i % n)] += 0.5 * v;
    });
  }
  expect(relativeError(got, want)).toBeLessThan(1e-3);
  const used = gpu.programs.kernels.map(({ shader }) => shader.name).filter((name) => name.startsWith("matmul"));
  if (gpu.features.f16) expect(used.filter((name) => !/SubgroupMatrix|Splits/.test(name))).toEqual([]);
  gpu.drop(a, b, c);
});
