import { afterAll, expect } from "vitest";
import { familyOf } from "../../bench/isa.ts";
import { kernelsOfPublished } from "../../bench/isa-kernels.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import { profileFor } from "../gpu/adapters.ts";
import { nullGpu } from "../gpu/open.ts";

/** Compiles the kernels of published shapes on Dawn's null backend, as on an adapter of this name. Call at the top of the file. */
export function usePublishedKernels(): (name: Parameters<typeof profileFor>[0]) => Promise<void> {
  const opened: Gpu[] = [];
  afterAll(() => {
    for (const gpu of opened) gpu.destroy();
  });
  return async (name) => {
    const profile = profileFor(name);
    const gpu = await nullGpu(profile);
    opened.push(gpu);
    // the shapes' bindings pass the null backend's limits, the kernels do not
    const like = { limits: { maxBufferSize: 2 ** 32, maxStorageBufferBindingSize: 2 ** 32 - 4 } };
    const kernels = await kernelsOfPublished({ ...like, features: gpu.features, profile });
    for (const { shader, variant } of kernels) gpu.programs.get(shader, variant);
    await gpu.settle();
    expect(gpu.programs.size).toBe(kernels.length);
    const families = new Set(kernels.map((kernel) => familyOf(kernel.name)));
    const most = [
      "matmul",
      "attention",
      "norm",
      "head",
      "loss",
      "sample",
      "optimizer",
      "embedding",
      "mlp",
      "elementwise",
    ];
    for (const family of most) expect(families).toContain(family);
  };
}
