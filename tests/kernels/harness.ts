import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Gpu, requestGpu } from "../../src/gpu/device.ts";
import { type KernelCase, runCase } from "../../src/kernels/check.ts";
import { openAdapter } from "../../src/platform/index.ts";

let gpu: Gpu | undefined;

/** The test file's own device; without an adapter, the test fails instead of being skipped. */
export function useGpu(): () => Gpu {
  beforeAll(async () => {
    const { adapter, waiting, f16 } = await openAdapter();
    gpu ??= await requestGpu(adapter, { waiting, disable: f16 ? [] : ["f16"] });
  });
  afterAll(() => gpu?.settle());
  return () => gpu!;
}

/** One test per case: within its tolerance, no NaN, no writes past an end. */
export function describeCases(title: string, cases: readonly KernelCase[]): void {
  describe(title, () => {
    const device = useGpu();
    for (const item of cases) {
      it(`${item.kernel} ${item.name}`, async ({ skip }) => {
        const { worst, what, skipped } = await runCase(device(), item);
        if (skipped) skip(skipped);
        expect(worst <= item.tolerance, `${what}: relative error ${worst}, allowed ${item.tolerance}`).toBe(true);
      });
    }
  });
}
