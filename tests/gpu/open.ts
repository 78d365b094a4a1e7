import { Gpu, type GpuOptions, requestGpu } from "../../src/gpu/device.ts";
import type { AdapterProfile } from "../../src/gpu/profile.ts";
import { openAdapter } from "../../src/platform/index.ts";
import { openNullAdapter } from "../../src/platform/node/node.ts";

/** The WGSL features that kernels use on an adapter of this profile. */
function nullFeatures(profile: AdapterProfile) {
  const subgroups = profile.subgroup !== null;
  return { f16: true, subgroups, subgroupId: subgroups && profile.kind === "gpu", timestamps: false };
}

/** A device that validates and compiles what an adapter of this profile would, and computes nothing. */
export async function nullDevice(profile: AdapterProfile): Promise<GPUDevice> {
  const { adapter } = await openNullAdapter();
  const sized = profile.subgroup?.asks ? ["subgroup-size-control"] : [];
  const requiredFeatures = ["shader-f16", ...(profile.subgroup ? ["subgroups"] : []), ...sized] as GPUFeatureName[];
  return adapter.requestDevice({ requiredFeatures });
}

/** Such a device, opened. @param device one of `nullDevice`, for several profiles; absent, one of its own */
export async function nullGpu(profile: AdapterProfile, device?: GPUDevice): Promise<Gpu> {
  return new Gpu(device ?? (await nullDevice(profile)), { features: nullFeatures(profile), profile });
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
