import { freemem } from "node:os";
import { GpuError } from "../../errors.ts";
import { type Gpu, requestGpu } from "../../gpu/device.ts";
import { fakeGpu } from "../../gpu/fake-device.ts";
import { wantsSubgroupMatrix } from "../../gpu/subgroup-matrix.ts";
import { openAdapter, type Platform } from "../../platform/index.ts";

/** Opens the best adapter of this machine with what works on it. */
export async function openGpu(
  options: { profile?: boolean; fetch?: boolean } = {},
): Promise<{ gpu: Gpu; platform: Platform }> {
  const platform = await openAdapter({ fetch: options.fetch });
  const gpu = await requestGpu(platform.adapter, {
    disable: platform.f16 ? [] : ["f16"],
    profiler: options.profile,
    subgroupMatrix: wantsSubgroupMatrix(process.env),
    waiting: platform.waiting,
    spares: platform.spares,
  });
  return { gpu, platform };
}

/**
 * What a forecast is made for: the adapter of this machine, or where there is none, one with WebGPU's default limits. Fetches
 * no renderer.
 *
 * @param open opens an adapter; throws GpuError where there is none
 * @returns no platform where there is no adapter
 */
export async function openToForecast(
  open = openGpu,
): Promise<{ gpu: Gpu; platform: Platform | null; describe: string }> {
  try {
    const opened = await open({ fetch: false });
    return { ...opened, describe: opened.platform.describe };
  } catch (error) {
    if (!(error instanceof GpuError)) throw error;
    return { gpu: fakeGpu(), platform: null, describe: "none here; this forecast takes WebGPU's default limits" };
  }
}

/** The last line of a forecast that nothing speaks against. */
export function fitsText(available: number | null): string {
  return available === null
    ? "It fits WebGPU's limits. WebGPU does not report how much memory the GPU has."
    : "It fits.";
}

/** Bytes that a run may take: what the recipe says, else the host's free memory for a software adapter, else unknown. */
export function availableMemory(platform: Platform | null, max_memory: number | null): number | null {
  if (max_memory !== null) return max_memory * 1e9;
  return platform?.software ? freemem() : null;
}
