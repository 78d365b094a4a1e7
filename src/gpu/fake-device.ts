import type { GpuFeatures } from "./context.ts";
import { Gpu } from "./device.ts";

/** What of an adapter a forecast depends on, and what else the choice of a kernel may. */
export interface PlanLimits extends Partial<typeof USUAL> {
  maxBufferSize: number;
  maxStorageBufferBindingSize: number;
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

/**
 * A Gpu that allocates nothing and runs nothing, but keeps the same ledger: recording a step on it forecasts the step's
 * memory with the very code that will allocate it, and lists its kernels (`programs.kernels`).
 *
 * @param limits of the adapter to plan for; WebGPU's defaults when absent
 * @param tuning what was measured on it, as far as kernels are asked for
 * @param adapterName some kernels are for some adapters only
 */
export function planGpu(
  limits: PlanLimits = { maxBufferSize: 256 << 20, maxStorageBufferBindingSize: 128 << 20 },
  features: Partial<GpuFeatures> = {},
  tuning: ReadonlyMap<string, string> = new Map(),
  adapterName = "forecast",
): Gpu {
  const names = ["maxBufferSize", "maxStorageBufferBindingSize", ...Object.keys(USUAL)] as (keyof PlanLimits)[];
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
  const all: GpuFeatures = { f16: true, subgroups: false, subgroupSize: 0, timestamps: false, ...features };
  const gpu = new Gpu(device as unknown as GPUDevice, all, adapterName);
  for (const [key, value] of tuning) gpu.tuning.set(key, value);
  return gpu;
}

/** A planning Gpu for the adapter of another, with what was measured on it so far. */
export function planLike({ limits, features, tuning, adapterName }: Gpu): Gpu {
  return planGpu(limits, features, tuning, adapterName);
}
