import type { GpuFeatures } from "./device.ts";
import { Gpu } from "./device.ts";

/** What of an adapter a forecast depends on. */
export interface PlanLimits {
  maxBufferSize: number;
  maxStorageBufferBindingSize: number;
}

/**
 * A Gpu that allocates nothing and runs nothing, but keeps the same ledger: recording a step on it forecasts the step's
 * memory with the very code that will allocate it.
 *
 * @param limits of the adapter to plan for; WebGPU's defaults when absent
 */
export function planGpu(
  limits: PlanLimits = { maxBufferSize: 256 << 20, maxStorageBufferBindingSize: 128 << 20 },
  features: Partial<GpuFeatures> = {},
): Gpu {
  const nothing = () => ({});
  const pass = { setPipeline: nothing, setBindGroup: nothing, dispatchWorkgroups: nothing, end: nothing };
  const encoder = { beginComputePass: () => pass, clearBuffer: nothing, copyBufferToBuffer: nothing, finish: nothing };
  const buffer = (size: number) => ({
    size,
    destroy: nothing,
    unmap: nothing,
    mapAsync: async () => undefined,
    getMappedRange: (_start = 0, bytes = size) => new ArrayBuffer(bytes),
  });
  const device = {
    limits: { maxComputeWorkgroupsPerDimension: 65535, ...limits },
    lost: new Promise<GPUDeviceLostInfo>(() => {}),
    queue: { submit: nothing, writeBuffer: nothing, onSubmittedWorkDone: async () => undefined },
    createBuffer: ({ size }: GPUBufferDescriptor) => buffer(size),
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
  return new Gpu(device as unknown as GPUDevice, all, "forecast");
}
