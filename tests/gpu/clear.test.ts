import { expect, test } from "vitest";
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
