import { freemem } from "node:os";
import { GpuError } from "../../errors.ts";
import { type Gpu, requestGpu } from "../../gpu/device.ts";
import { fakeGpu } from "../../gpu/fake-device.ts";
import { refusesSubgroupMatrix } from "../../gpu/subgroup-matrix.ts";
import { openAdapter, type Platform } from "../../platform/index.ts";

export interface Opened {
  gpu: Gpu;
  platform: Platform;
}

let reused: (() => Promise<Opened>) | null = null;

/** Later commands of this process use one device, so that each kernel is compiled once. @param open gives it; null: a device each */
export function reuseGpu(open: (() => Promise<Opened>) | null): void {
  reused = open;
}

/** Opens this machine's best adapter with all working features. */
export async function openGpu(options: { profile?: boolean; fetch?: boolean } = {}): Promise<Opened> {
  if (reused && !options.profile) {
    const { gpu, platform } = await reused();
    return { gpu: gpu.again(), platform };
  }
  const platform = await openAdapter({ fetch: options.fetch });
  const gpu = await requestGpu(platform.adapter, {
    disable: [
      ...(platform.f16 ? [] : (["f16"] as const)),
      ...(refusesSubgroupMatrix(process.env) ? (["matrices"] as const) : []),
    ],
    profiler: options.profile,
    waiting: platform.waiting,
    spares: platform.spares,
  });
  return { gpu, platform };
}

/**
 * The adapter for a forecast: this machine's, or a stand-in with WebGPU's default limits if there is none. Does not download a
 * renderer.
 *
 * @param open opens an adapter; throws GpuError if there is none
 * @returns no platform if there is no adapter
 */
export async function openToForecast(
  open = openGpu,
): Promise<{ gpu: Gpu; platform: Platform | null; describe: string }> {
  try {
    const opened = await open({ fetch: false });
    return { ...opened, describe: opened.platform.describe };
  } catch (error) {
    if (!(error instanceof GpuError)) throw error;
    return { gpu: fakeGpu(), platform: null, describe: "none here; this forecast assumes WebGPU's default limits" };
  }
}

/** The last line of a forecast without objections. */
export function fitsText(available: number | null): string {
  return available === null
    ? "It fits WebGPU's limits. WebGPU does not report how much memory the GPU has."
    : "It fits.";
}

/** Bytes available to a run: the recipe's value, else the host's free memory for a software adapter, else unknown. */
export function availableMemory(platform: Platform | null, max_memory: number | null): number | null {
  if (max_memory !== null) return max_memory * 1e9;
  return platform?.software ? freemem() : null;
}
