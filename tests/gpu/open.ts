import { Gpu, type GpuOptions, requestGpu } from "../../src/gpu/device.ts";
import type { AdapterProfile } from "../../src/gpu/profile.ts";
import { openAdapter } from "../../src/platform/index.ts";
import { openNullAdapter } from "../../src/platform/node/node.ts";

/** A device that validates and compiles what an adapter of this profile would, and computes nothing. */
export async function nullGpu(profile: AdapterProfile): Promise<Gpu> {
  const { adapter } = await openNullAdapter();
  const subgroups = profile.subgroup !== null;
  const sized = profile.subgroup?.asks ? ["subgroup-size-control"] : [];
  const requiredFeatures = ["shader-f16", ...(subgroups ? ["subgroups"] : []), ...sized] as GPUFeatureName[];
  const device = await adapter.requestDevice({ requiredFeatures });
  const subgroupId = subgroups && profile.kind === "gpu";
  return new Gpu(device, { features: { f16: true, subgroups, subgroupId, timestamps: false }, profile });
}

/** A separate device for a test, to break or to limit: an adapter can open only one device. */
export async function ownGpu(options: GpuOptions = {}): Promise<Gpu> {
  const { adapter, waiting, f16 } = await openAdapter();
  return requestGpu(adapter, {
    waiting,
    ...options,
    disable: [...(options.disable ?? []), ...(f16 ? [] : (["f16"] as const))],
  });
}
