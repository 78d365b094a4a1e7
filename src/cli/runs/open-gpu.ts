import { freemem } from "node:os";
import { type Gpu, requestGpu } from "../../gpu/device.ts";
import { wantsSubgroupMatrix } from "../../gpu/subgroup-matrix.ts";
import { openAdapter, type Platform } from "../../platform/index.ts";

/** Opens the best adapter of this machine with what works on it. */
export async function openGpu(options: { profile?: boolean } = {}): Promise<{ gpu: Gpu; platform: Platform }> {
  const platform = await openAdapter();
  const gpu = await requestGpu(platform.adapter, {
    disable: platform.f16 ? [] : ["f16"],
    profiler: options.profile,
    subgroupMatrix: wantsSubgroupMatrix(process.env),
    waiting: platform.waiting,
    spares: platform.spares,
  });
  return { gpu, platform };
}

/** Bytes that a run may take: what the recipe says, else the host's free memory for a software adapter, else unknown. */
export function availableMemory(platform: Platform, max_memory: number | null): number | null {
  if (max_memory !== null) return max_memory * 1e9;
  return platform.software ? freemem() : null;
}
