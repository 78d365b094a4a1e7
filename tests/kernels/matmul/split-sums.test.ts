import { expect, it, vi } from "vitest";
import { fakeGpu } from "../../../src/gpu/fake-device.ts";
import { recordProduct } from "../../../src/kernels/matmul/product.ts";
import { splitFor } from "../../../src/kernels/matmul/split-sums.ts";
import { profileFor } from "../../gpu/adapters.ts";

const LIMITS = { maxBufferSize: 2 ** 31, maxStorageBufferBindingSize: 2 ** 31 };

it("splits long sums of few outputs, and no others", () => {
  // the head's gradient of 128 rows, lora_A's of 4096 tokens
  for (const [m, n, k] of [
    [128, 896, 151_936],
    [48, 896, 4096],
    [16, 4864, 4096],
  ] as const) {
    const split = splitFor(m, n, k)!;
    const workgroups = split.count * Math.ceil(m / 64) * Math.ceil(n / 64);
    expect(workgroups, `${m} × ${n}`).toBeGreaterThanOrEqual(Math.min(200, 14 * Math.floor(k / 256)));
    expect(split.steps % 64).toBe(0);
    expect(split.steps * (split.count - 1)).toBeLessThan(k);
    expect(split.steps * split.count).toBeGreaterThanOrEqual(k);
  }
  expect(splitFor(4096, 896, 4864)).toBeNull();
  expect(splitFor(128, 896, 300)).toBeNull();
});

it("splits the parts of LoRA's gradients one by one, on a GPU", () => {
  const count = (name: "nvidia" | "llvmpipe of 256 bits") => {
    const gpu = fakeGpu({ limits: LIMITS, profile: { ...profileFor(name), operands: "buffers" } });
    const record = gpu.recorder();
    const dispatch = vi.spyOn(record, "dispatch");
    const [tokens, r] = [4096, 16];
    const outs = [896, 128, 128]; // q, k and v of Qwen2.5-0.5B
    const [a, b] = [record.empty([tokens, 1152], "f32", "dy"), record.empty([tokens, 3 * r], "f32", "h")];
    const c = record.empty([1152 * r], "f32", "d.lora_B");
    const strides = { lda: 1152, ldb: 3 * r, rowStride: r, colStride: 1 };
    const parts = outs.map((m, i) => {
      const first = outs.slice(0, i).reduce((sum, out) => sum + out, 0);
      return { m, n: r, k: tokens, aAt: first, bAt: i * r, cAt: first * r };
    });
    recordProduct(record, { a, b, c, transA: true, transB: false, ...strides, parts, shared: true, accumulate: true });
    return dispatch.mock.calls.map(([, , , , grid]) =>
      typeof grid === "number" ? grid : grid.reduce<number>((x, y) => x * (y ?? 1), 1),
    );
  };
  const grids = count("nvidia");
  expect(grids).toHaveLength(6); // a product and its sums, part by part
  expect(grids[0] + grids[2] + grids[4]).toBeGreaterThanOrEqual(256);
  expect(count("llvmpipe of 256 bits").length).toBeLessThanOrEqual(3);
});

it("gives the head's gradient of 128 rows 256 workgroups and more, on a GPU", () => {
  const count = (name: "nvidia" | "llvmpipe of 256 bits") => {
    const gpu = fakeGpu({ limits: LIMITS, profile: { ...profileFor(name), operands: "buffers" } });
    const record = gpu.recorder();
    const dispatch = vi.spyOn(record, "dispatch");
    const [m, n, k] = [128, 896, 151_936];
    const [a, b] = [record.empty([m, k], "f32", "dlogits"), record.empty([k, n], "bf16", "head")];
    const c = record.empty([m, n], "f32", "dx");
    const strides = { lda: k, ldb: n, rowStride: n, colStride: 1 };
    recordProduct(record, { a, b, c, transA: false, transB: false, ...strides, parts: [{ m, n, k }] });
    return dispatch.mock.calls.map(([, , , , grid]) =>
      typeof grid === "number" ? grid : grid.reduce<number>((x, y) => x * (y ?? 1), 1),
    );
  };
  const [product, sums] = count("nvidia");
  expect(product).toBeGreaterThanOrEqual(256);
  expect(sums).toBe((128 * 896) / 64);
  expect(count("llvmpipe of 256 bits")).toHaveLength(1);
});
