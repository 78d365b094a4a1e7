import type { ActivationStorage, GpuFeatures, MatmulPrecision } from "./context.ts";
import { Gpu } from "./device.ts";
import { type AdapterProfile, profileOf } from "./profile.ts";

/** Limits that affect memory and the choice of kernels; missing limits have WebGPU's defaults. */
export interface FakeLimits extends Partial<typeof USUAL> {
  maxBufferSize: number;
  maxStorageBufferBindingSize: number;
}

/** The adapter that a fake device imitates: limits, kernel choices and measured tiles. Every Gpu satisfies this. */
export interface AdapterLike {
  limits: FakeLimits;
  features?: Partial<GpuFeatures>;
  /** default: the profile of an unknown GPU */
  profile?: AdapterProfile;
  /** default: highest */
  precision?: MatmulPrecision;
  /** default: f32 */
  activations?: ActivationStorage;
  /** measured tiles, if the kernels matter */
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

/** A GPU without optional features. */
function anyGpu(): AdapterProfile {
  const unknown = { vendor: "", architecture: "", fallback: false, subgroups: null, subgroupSizeControl: false };
  return profileOf({ name: "forecast", ...unknown });
}

/**
 * A Gpu that allocates and runs nothing, but keeps the same memory ledger. Recording a step on it forecasts the step's
 * memory with the code that later allocates it, and lists the step's kernels (`programs.kernels`).
 *
 * @param like the adapter to imitate; default: an adapter with WebGPU's default limits
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
  gpu.precision = like.precision ?? "highest";
  gpu.activations = like.activations ?? "f32";
  return gpu;
}
