import { expect, test, vi } from "vitest";
import type { Gpu } from "../../src/gpu/device.ts";
import { add } from "../../src/kernels/elementwise.ts";
import { ownGpu } from "./open.ts";

test("a cleared device has no tensors, and accepts new ones", async () => {
  const gpu = await ownGpu();
  gpu.upload(new Float32Array(1000), [1000], "f32", "weights", "weights");
  const scratch = gpu.pool.take(4096, "scratch", "in use");
  gpu.pool.budget = 10;
  expect(gpu.pool.ledger.allocated).toBeGreaterThan(8000);
  await gpu.clear();
  expect(gpu.pool.ledger.allocated).toBe(0);
  expect(gpu.pool.largest(5)).toEqual([]);
  expect(gpu.pool.budget).toBe(Number.POSITIVE_INFINITY);
  const again = gpu.pool.take(4096, "scratch", "again");
  expect(again.memory).not.toBe(scratch.memory);
  const tensor = gpu.upload(Float32Array.of(1, 2, 3), [3], "f32", "new", "weights");
  expect([...(await gpu.readF32(tensor))]).toEqual([1, 2, 3]);
});

test("a device used again has memory of its own, and the kernels that were compiled", async () => {
  const gpu = await ownGpu();
  const compile = vi.spyOn(gpu.device, "createComputePipeline");
  const sum = async (of: Gpu) => {
    const [a, b] = [Float32Array.of(1, 2, 3), Float32Array.of(10, 20, 30)].map((data) =>
      of.upload(data, [3], "f32", "term", "weights"),
    );
    const record = of.recorder();
    add(record, a, b); // adds to a
    const data = record.read(a);
    record.submit();
    return [...new Float32Array(await data, 0, 3)];
  };
  expect(await sum(gpu)).toEqual([11, 22, 33]);
  const again = gpu.again();
  expect(again.pool.ledger.allocated).toBe(0);
  expect(await sum(again)).toEqual([11, 22, 33]);
  expect(compile).toHaveBeenCalledTimes(1);
  await again.clear();
  expect(gpu.pool.ledger.allocated).toBeGreaterThan(0);
  expect(await sum(gpu)).toEqual([11, 22, 33]);
});
