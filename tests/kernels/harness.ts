import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Opened } from "../../src/cli/runs/open-gpu.ts";
import { type Gpu, requestGpu } from "../../src/gpu/device.ts";
import { type KernelCase, runCase } from "../../src/kernels/check.ts";
import { openAdapter } from "../../src/platform/index.ts";

let opened: Promise<Opened> | undefined;

/** The device of this process: each kernel is compiled once for all test files that run in it. */
export function sharedDevice(): Promise<Opened> {
  opened ??= open();
  return opened;
}

async function open(): Promise<Opened> {
  const platform = await openAdapter();
  const { adapter, waiting, f16 } = platform;
  return { gpu: await requestGpu(adapter, { waiting, disable: f16 ? [] : ["f16"] }), platform };
}

/** That device with memory, tuning and errors of its own. */
export async function freshGpu(): Promise<Gpu> {
  const { gpu } = await sharedDevice();
  return gpu.again();
}

/** A fresh one for each test file. Without an adapter, its tests fail instead of being skipped. */
export function useGpu(): () => Gpu {
  let gpu: Gpu | undefined;
  beforeAll(async () => {
    gpu = await freshGpu();
  });
  afterAll(() => gpu?.clear());
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
