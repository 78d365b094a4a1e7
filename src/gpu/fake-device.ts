import type { GpuFeatures } from "./context.ts";
import { Gpu } from "./device.ts";
import { type AdapterProfile, profileOf } from "./profile.ts";

/** Limits that memory and the choice of kernels depend on; what is absent is WebGPU's default. */
export interface FakeLimits extends Partial<typeof USUAL> {
  maxBufferSize: number;
  maxStorageBufferBindingSize: number;
}

/** The adapter that a fake device stands for. Every Gpu is one: the same limits, kernels and measured tiles. */
export interface AdapterLike {
  limits: FakeLimits;
  features?: Partial<GpuFeatures>;
  /** of a GPU that nothing is known of, when absent */
  profile?: AdapterProfile;
  /** what was measured on it, as far as kernels are asked for */
  tuning?: ReadonlyMap<string, string>;
}

/** WebGPU's defaults. */
const USUAL = {
  maxComputeWorkgroupsPerDimension: 65535,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxStorageBuffersPerShaderStage: 8,
  maxTextureDimension2D: 8192,
  maxTextureArrayLayers: 256,
};

/** A GPU without anything of its own. */
function anyGpu(): AdapterProfile {
  const unknown = { vendor: "", architecture: "", fallback: false, subgroups: null, subgroupSizeControl: false };
  return profileOf({ name: "forecast", ...unknown });
}

/**
 * A Gpu that allocates nothing and runs nothing, but keeps the same ledger: recording a step on it forecasts the step's
 * memory with the very code that will allocate it, and lists its kernels (`programs.kernels`).
 *
 * @param like the adapter that it stands for; one with WebGPU's default limits when absent
 */
export function fakeGpu(
  like: AdapterLike = { limits: { maxBufferSize: 256 << 20, maxStorageBufferBindingSize: 128 << 20 } },
): Gpu {
  const { limits, features, profile = anyGpu(), tuning = new Map() } = like;
  const names = ["maxBufferSize", "maxStorageBufferBindingSize", ...Object.keys(USUAL)] as (keyof FakeLimits)[];
  const nothing = () => ({});
  const pass = { setPipeline: nothing, setBindGroup: nothing, dispatchWorkgroups: nothing, end: nothing };
  const encoder = {
    beginComputePass: () => pass,
    clearBuffer: nothing,
    copyBufferToBuffer: nothing,
    copyBufferToTexture: nothing,
    copyTextureToBuffer: nothing,
    finish: nothing,
  };
  const buffer = (size: number) => ({
    size,
    destroy: nothing,
    unmap: nothing,
    mapAsync: async () => undefined,
    getMappedRange: (_start = 0, bytes = size) => new ArrayBuffer(bytes),
  });
  const device = {
    limits: Object.fromEntries(names.map((name) => [name, limits[name] ?? USUAL[name as keyof typeof USUAL]])),
    lost: new Promise<GPUDeviceLostInfo>(() => {}),
    queue: { submit: nothing, writeBuffer: nothing, writeTexture: nothing, onSubmittedWorkDone: async () => undefined },
    createBuffer: ({ size }: GPUBufferDescriptor) => buffer(size),
    createTexture: () => ({ createView: nothing, destroy: nothing }),
    createShaderModule: nothing,
    createBindGroupLayout: nothing,
    createPipelineLayout: nothing,
    createComputePipeline: nothing,
    createBindGroup: nothing,
    createCommandEncoder: () => encoder,
    pushErrorScope: nothing,
    popErrorScope: async () => null,
    destroy: nothing,
  };
  const all: GpuFeatures = { f16: true, subgroups: profile.subgroup !== null, timestamps: false, ...features };
  const gpu = new Gpu(device as unknown as GPUDevice, { features: all, profile });
  for (const [key, value] of tuning) gpu.tuning.set(key, value);
  return gpu;
}
