import { describe, expect, it, vi } from "vitest";
import { Gpu } from "../../../src/gpu/device.ts";
import { Recorder } from "../../../src/gpu/recorder.ts";
import type { Tensor } from "../../../src/gpu/tensor.ts";
import { oneLinear } from "../../../src/kernels/matmul/linear.ts";
import { loraLinear } from "../../../src/kernels/matmul/lora-linear.ts";
import { loraLinearBackward } from "../../../src/kernels/matmul/lora-linear-backward.ts";
import { useGpu } from "../harness.ts";

const [ROWS, INNER, OUT, R] = [12, 32, 24, 4];

/** Pseudo-random numbers in (−1, 1). */
const numbers = (count: number, seed: number) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(12.9898 * (i + 1) + 78.233 * seed));

describe("plans of products", () => {
  const shared = useGpu();
  /** The same device without what is known about products. Operands in buffers, as GPUs have them. */
  const fresh = () => {
    const { device, features, profile } = shared();
    return new Gpu(device, { features, profile: { ...profile, operands: "buffers" } });
  };

  /** y, dx, dA and dB of one layer whose tensors and dropout masks depend on `seed`. @param row of a longer x, which x begins at */
  async function layerOf(gpu: Gpu, seed: number, row = 0): Promise<number[][]> {
    const up = (shape: readonly number[], own: number) =>
      gpu.upload(numbers(shape[0] * shape[1], 10 * seed + own), shape, "f32", `${own}`, "weights");
    const lora = { a: up([R, INNER], 1), b: up([OUT, R], 2), scale: 2, dropout: 0.25, index: 3 };
    const layer = oneLinear(up([OUT, INNER], 3), null, lora);
    const [x, dy] = [up([ROWS, INNER], 4), up([ROWS, OUT], 5)];
    const record = gpu.recorder();
    const dropoutSeed = { seed: 1000 + seed, row };
    const { y, saved } = loraLinear(record, x, [layer], dropoutSeed);
    const loraA = record.zeros([R, INNER], "f32", "dA");
    const loraB = record.zeros([OUT, R], "f32", "dB");
    const grads = [{ weight: null, bias: null, loraA, loraB }];
    const dx = loraLinearBackward(record, x, dy, [layer], { saved, grads, dropoutSeed })!;
    const read = [y, dx, loraA, loraB].map((tensor: Tensor) => record.read(tensor));
    record.submit();
    return Promise.all(read.map(async (data) => [...new Float32Array(await data)]));
  }

  it("gives other tensors and dropout masks of the same shapes the bits of a first recording", async () => {
    const gpu = fresh();
    const noted = vi.spyOn(Recorder.prototype, "plan");
    const followed = vi.spyOn(Recorder.prototype, "follow");
    try {
      await layerOf(gpu, 1);
      const plans = noted.mock.calls.length;
      expect(plans).toBeGreaterThan(3);
      expect(followed).not.toHaveBeenCalled();
      const second = await layerOf(gpu, 2);
      expect([noted.mock.calls.length, followed.mock.calls.length]).toEqual([plans, plans]);
      expect(second).toEqual(await layerOf(fresh(), 2));
      expect(second).not.toEqual(await layerOf(gpu, 3));
      const further = await layerOf(gpu, 2, ROWS);
      expect(further).toEqual(await layerOf(fresh(), 2, ROWS));
      expect(further).not.toEqual(second);
    } finally {
      noted.mockRestore();
      followed.mockRestore();
    }
  });

  it("forgets plans when a tile was measured or the precision changes", async () => {
    const gpu = fresh();
    const noted = vi.spyOn(Recorder.prototype, "plan");
    try {
      await layerOf(gpu, 1);
      const plans = noted.mock.calls.length;
      gpu.tuning.set("another", "{}");
      await layerOf(gpu, 2);
      expect(noted).toHaveBeenCalledTimes(2 * plans);
      gpu.precision = "high";
      await layerOf(gpu, 3);
      expect(noted).toHaveBeenCalledTimes(3 * plans);
    } finally {
      noted.mockRestore();
    }
  });
});
