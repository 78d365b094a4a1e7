import { GpuError } from "../errors.ts";
import { GpuContext, type GpuFeatures, type Waiting } from "./context.ts";
import { compileAhead, type Spares } from "./cpu-adapters/warm-up.ts";
import { factsOf, profileOf } from "./profile.ts";
import type { Kernel } from "./program.ts";
import { Recorder } from "./recorder.ts";
import { provenMatrix, SUBGROUP_MATRIX, subgroupMatrixOf } from "./subgroup-matrix.ts";
import { sizeOf, type Tensor } from "./tensor.ts";

export interface GpuOptions {
  /** features to leave off although the adapter has them, because they are known to be faulty or failed a probe */
  disable?: readonly ("f16" | "subgroups" | "timestamps" | "textures" | "matrices")[];
  /** use matrix units without a test of their numbers: for devices that compile kernels and run nothing */
  untested?: boolean;
  /** time every kernel, if the adapter has timestamps */
  profiler?: boolean;
  /**
   * called when waiting for the GPU begins and ends: Dawn's Node binding spins meanwhile, and the platform throttles it
   */
  waiting?: Waiting;
  /** further adapters, each for one device, for drivers that translate kernels on one thread per device */
  spares?: { count: number; open(): Promise<GPUAdapter> };
}

/** A device with its memory, programs and recorders. Training, generation and export use one. */
export class Gpu extends GpuContext {
  private spares: Spares | null = null;

  recorder(): Recorder {
    return new Recorder(this);
  }

  /** The same device with memory and errors of its own, and with the kernels that this one has compiled. */
  again(): Gpu {
    const { device, features, profile, waiting, programs } = this;
    const gpu = new Gpu(device, { features, profile, waiting, programs });
    gpu.spares = this.spares;
    return gpu;
  }

  /** Compiles kernels before they are needed, several at once, in the background. See `compileAhead`. */
  prepare(
    kernels: readonly Kernel[],
    signal?: AbortSignal,
    onProgress?: (done: number, total: number) => void,
  ): Promise<void> {
    return compileAhead(this, kernels, this.spares, signal, onProgress);
  }

  /** Lets `prepare` use further devices. @param slowMs a kernel slower than this opens them */
  useSpares(spares: Omit<Spares, "slowMs">, slowMs = 250): void {
    this.spares = { ...spares, slowMs };
  }

  /** Reads a tensor back, with its own submit and wait: for tests, checkpoints and evaluation. */
  async read(tensor: Tensor): Promise<ArrayBuffer> {
    const record = this.recorder();
    const data = record.read(tensor);
    record.submit();
    return data;
  }

  async readF32(tensor: Tensor): Promise<Float32Array> {
    return new Float32Array(await this.read(tensor), 0, sizeOf(tensor.shape));
  }
}

/** Limits that Qwench raises from WebGPU's defaults to the adapter's maximum. */
const RAISED = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
] as const;

/**
 * Opens a device with the adapter's features and limits.
 *
 * @throws {GpuError} the adapter refuses to open a device
 */
export async function requestGpu(adapter: GPUAdapter, options: GpuOptions = {}): Promise<Gpu> {
  const off = new Set(options.disable ?? []);
  const features: GpuFeatures = {
    f16: adapter.features.has("shader-f16") && !off.has("f16"),
    subgroups: adapter.features.has("subgroups" as GPUFeatureName) && !off.has("subgroups"),
    timestamps: adapter.features.has("timestamp-query") && !off.has("timestamps"),
  };
  const profile = profileOf(factsOf(adapter, features.subgroups));
  const matrix = off.has("matrices") ? null : subgroupMatrixOf(adapter, profile, features.f16);
  const requiredFeatures: GPUFeatureName[] = [];
  if (profile.subgroup?.asks) requiredFeatures.push("subgroup-size-control" as GPUFeatureName);
  if (matrix) requiredFeatures.push(SUBGROUP_MATRIX);
  if (features.f16) requiredFeatures.push("shader-f16");
  if (features.subgroups) requiredFeatures.push("subgroups" as GPUFeatureName);
  if (features.timestamps) requiredFeatures.push("timestamp-query");
  const requiredLimits = Object.fromEntries(RAISED.map((name) => [name, adapter.limits[name]]));
  let device: GPUDevice;
  try {
    device = await adapter.requestDevice({ label: "qwench", requiredFeatures, requiredLimits });
  } catch (error) {
    throw new GpuError(`Cannot open a device on ${profile.name}: ${(error as Error).message}`);
  }
  const textures = profile.operands === "textures" && !off.has("textures") && (await compiles(device, TEXELS));
  const { spares, waiting, disable, profiler } = options;
  if (features.subgroups && profile.kind === "gpu") features.subgroupId = await compiles(device, SUBGROUP_ID);
  if (matrix) features.matrix = await provenMatrix(device, matrix, !options.untested);
  const gpu = new Gpu(device, {
    features,
    profile: { ...profile, operands: textures ? "textures" : "buffers" },
    profiler,
    waiting,
  });
  if (spares && profile.translates === "dispatch") {
    const open = async () => requestGpu(await spares.open(), { waiting, disable });
    gpu.useSpares({ count: spares.count, open });
  }
  return gpu;
}

/** Whether kernels may read storage textures: a recent addition to WGSL. */
const TEXELS = `
@group(0) @binding(0) var texels: texture_storage_2d<rgba32uint, read>;
@group(0) @binding(1) var<storage, read_write> words: array<vec4u>;
@compute @workgroup_size(1) fn main() { words[0] = textureLoad(texels, vec2u()); }`;

/** Whether kernels may use subgroup_id: more recent than subgroups themselves. */
const SUBGROUP_ID = `enable subgroups;
@group(0) @binding(0) var<storage, read_write> words: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(subgroup_id) sub: u32) { words[0] = sub; }`;

/** Whether a device accepts a kernel. */
async function compiles(device: GPUDevice, code: string): Promise<boolean> {
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code, label: "probe" });
  device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main" } });
  return (await device.popErrorScope()) === null;
}
