import type { SubgroupMatrix } from "../../shaders/matmul.wgsl.ts";
import { GpuError } from "../errors.ts";
import { UniformArena } from "./arena.ts";
import { Pace } from "./pace.ts";
import { type MemoryKind, Pool } from "./pool.ts";
import { Profiler } from "./profiler.ts";
import { type Kernel, ProgramCache } from "./program.ts";
import { Recorder } from "./recorder.ts";
import { StagingRing } from "./staging.ts";
import { SUBGROUP_MATRIX, subgroupMatrixOf } from "./subgroup-matrix.ts";
import { bufferOf, byteLength, type DType, sizeOf, type Tensor } from "./tensor.ts";
import { Texels, writeTexels } from "./texels.ts";
import { compileAhead, type Spares } from "./warm-up.ts";

/** What the adapter offers and Qwench uses. */
export interface GpuFeatures {
  f16: boolean;
  subgroups: boolean;
  /** lanes of a subgroup where the adapter has one size only, else 0 */
  subgroupSize: number;
  timestamps: boolean;
  /** matrices of a subgroup that products may be multiplied by, where that was asked for: operands are then rounded */
  matrix?: SubgroupMatrix | null;
  /** operands of products are read as textures, where that is quicker, and frozen weights lie in them, see Texels */
  texels?: boolean;
}

export interface GpuOptions {
  /** leave features unused that the adapter offers: where they are known or probed to be wrong */
  disable?: readonly ("f16" | "subgroups" | "timestamps" | "texels")[];
  /** multiply by subgroup matrices where the adapter offers them: experimental, and operands may be rounded to f16 */
  subgroupMatrix?: boolean;
  /** time every kernel */
  profile?: boolean;
  /** told when waiting for the GPU begins and ends: Dawn's Node binding spins meanwhile, and its platform slows it down */
  waiting?: Waiting;
  /** further adapters, each good for one device, where a driver compiles on one thread */
  spares?: { count: number; open(): Promise<GPUAdapter> };
}

/** Hears how many waits for the GPU are under way. */
export interface Waiting {
  begin(): void;
  end(): void;
}

const UPLOAD_BYTES = 16 << 20;
/** A 0.5B step binds some two thousand. */
const MOST_BIND_GROUPS = 16_384;

/** A device with its pool, caches and faults: all that the kernels need of WebGPU. */
export class Gpu {
  readonly device: GPUDevice;
  readonly features: GpuFeatures;
  readonly limits: GPUSupportedLimits;
  /** vendor, architecture and description in one line; names the adapter in tuning files and reports */
  readonly adapterName: string;
  readonly pool: Pool;
  /** null where kernels read buffers only */
  readonly texels: Texels | null;
  readonly programs: ProgramCache;
  readonly arena: UniformArena;
  readonly staging: StagingRing;
  readonly pace: Pace;
  readonly profiler: Profiler | null;
  readonly bindGroups = new Map<string, GPUBindGroup>();
  /** which variant won for which shape class, by a kernel's own keys; saved with checkpoints, for exact resume */
  readonly tuning = new Map<string, string>();
  private fault: GpuError | null = null;
  private readonly watched = new Set<Promise<unknown>>();
  private readonly ids = new WeakMap<GPUBuffer | GPUTexture, number>();
  private nextId = 0;
  private dropped = 0;

  private readonly waiting: Waiting | null;
  private spares: Spares | null = null;

  constructor(
    device: GPUDevice,
    features: GpuFeatures,
    adapterName: string,
    profile = false,
    waiting: Waiting | null = null,
  ) {
    this.waiting = waiting;
    this.device = device;
    this.features = features;
    this.limits = device.limits;
    this.adapterName = adapterName;
    this.pool = new Pool(device);
    this.texels = features.texels ? new Texels(device, this.pool) : null;
    this.programs = new ProgramCache(device, features, (fault) => this.watch(fault));
    this.arena = new UniformArena(device);
    this.staging = new StagingRing(device, (wait) => this.wait(wait));
    this.pace = new Pace(device, (wait) => this.wait(wait));
    this.profiler = profile && features.timestamps ? new Profiler(device) : null;
    void device.lost.then(({ reason, message }) => {
      const how = reason === "destroyed" ? "destroyed" : `lost: ${message || reason || "no reason given"}`;
      this.fault ??= new GpuError(`The device of ${adapterName} was ${how}`);
    });
    device.addEventListener?.("uncapturederror", (event) => {
      event.preventDefault?.();
      this.fault ??= new GpuError(`${adapterName} reports: ${event.error.message}`);
    });
  }

  recorder(): Recorder {
    return new Recorder(this);
  }

  /** Compiles kernels before they are needed, several at a time, while other things happen. See `compileAhead`. */
  prepare(kernels: readonly Kernel[], signal?: AbortSignal): Promise<void> {
    return compileAhead(this, kernels, this.spares, signal);
  }

  /** Lets `prepare` use further devices. @param slowMs time of a kernel after which they are opened */
  useSpares(spares: Omit<Spares, "slowMs">, slowMs = 250): void {
    this.spares = { ...spares, slowMs };
  }

  /** A long-lived tensor: of exactly its size, zero until written. */
  persistent(shape: readonly number[], dtype: DType, label: string, kind: MemoryKind): Tensor {
    const bytes = byteLength(sizeOf(shape), dtype);
    const block = this.pool.take(bytes, kind, label, true);
    return { label, shape, dtype, buffer: block.memory, offset: 0, bytes, block };
  }

  /** A matrix of weights that no kernel will write: in a texture where products read those quicker. Zero until written. */
  frozen(shape: readonly number[], dtype: DType, label: string): Tensor {
    const block = this.texels?.hold(shape, dtype, label);
    if (!block) return this.persistent(shape, dtype, label, "weights");
    const bytes = byteLength(sizeOf(shape), dtype);
    return { label, shape, dtype, buffer: null, texture: block.memory, offset: 0, bytes, block };
  }

  /** A long-lived tensor with content. */
  upload(
    data: Float32Array | Uint32Array | Int32Array | Uint16Array,
    shape: readonly number[],
    dtype: DType,
    label: string,
    kind: MemoryKind,
  ): Tensor {
    const tensor = this.persistent(shape, dtype, label, kind);
    this.write(tensor, data);
    return tensor;
  }

  /** Queues bytes to be written at `start` bytes into a tensor, before whatever is submitted next. */
  write(tensor: Tensor, data: ArrayBufferView, start = 0): void {
    let bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    if (start + bytes.length > tensor.bytes) {
      throw new GpuError(
        `Cannot write ${bytes.length} bytes at ${start} of ${tensor.label}: it has ${tensor.bytes} bytes`,
      );
    }
    if (bytes.length % 4 !== 0) {
      const padded = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
      padded.set(bytes);
      bytes = padded;
    }
    const { queue } = this.device;
    const buffer = tensor.texture ? null : bufferOf(tensor);
    if (buffer) this.texels?.wrote(buffer);
    for (let at = 0; at < bytes.length; at += UPLOAD_BYTES) {
      const piece = bytes.subarray(at, at + UPLOAD_BYTES);
      if (buffer) queue.writeBuffer(buffer, tensor.offset + start + at, piece);
      else writeTexels(queue, tensor, start + at, piece);
    }
  }

  /** Copies a tensor out: a submit and a wait of its own, for tests, checkpoints and evaluation. */
  async read(tensor: Tensor): Promise<ArrayBuffer> {
    const record = this.recorder();
    const data = record.read(tensor);
    record.submit();
    return data;
  }

  async readF32(tensor: Tensor): Promise<Float32Array> {
    return new Float32Array(await this.read(tensor), 0, sizeOf(tensor.shape));
  }

  /** Frees a long-lived tensor now. What was submitted with it must have ended (`settle`). */
  drop(...tensors: Tensor[]): void {
    for (const { block } of tensors) if (block) this.pool.drop(block);
    this.bindGroups.clear();
  }

  /** Frees every tensor, to load another model: compiled programs stay. Whoever holds a tensor must forget it. */
  async clear(): Promise<void> {
    await this.settle();
    this.pool.clear();
    this.bindGroups.clear();
  }

  /** Gives what nothing uses back to the device: between phases, or where the host needs room. */
  trim(): void {
    this.pool.trim();
    this.bindGroups.clear();
  }

  /** Marks a step boundary: idle buffers go back to the device. */
  endStep(): void {
    this.pool.endStep();
    this.texels?.endStep();
    // Bind groups of dropped buffers hold on to them; and steps of ever new lengths bring ever new ones.
    if (this.pool.dropped !== this.dropped || this.bindGroups.size > MOST_BIND_GROUPS) this.bindGroups.clear();
    this.dropped = this.pool.dropped;
  }

  /** Waits until the queue is empty; throws the first fault. */
  async settle(): Promise<void> {
    await this.wait(this.device.queue.onSubmittedWorkDone());
    await this.verified();
  }

  /** Waits for what the device has to say about everything submitted so far; throws the first fault. */
  async verified(): Promise<void> {
    await Promise.all(this.watched);
    this.check();
  }

  /** Passes on a promise of the device, and lets the platform know that something waits for it. */
  wait<T>(promise: Promise<T>): Promise<T> {
    if (!this.waiting) return promise;
    this.waiting.begin();
    const end = () => this.waiting!.end();
    promise.then(end, end);
    return promise;
  }

  /** Throws the first fault that came in, if any. */
  check(): void {
    if (this.fault) throw this.fault;
  }

  /** Remembers a fault that a promise may bring. */
  watch(fault: Promise<GpuError | null>): void {
    const earlier = [...this.watched];
    const done = fault
      .catch((error) => new GpuError(String(error)))
      .then(async (error) => {
        if (!error) return;
        await Promise.all(earlier); // the cause, a shader that did not compile, comes before its consequences
        this.fault ??= error;
      });
    this.watched.add(done);
    void done.finally(() => this.watched.delete(done));
  }

  bufferId(buffer: GPUBuffer | GPUTexture): number {
    let id = this.ids.get(buffer);
    if (id === undefined) this.ids.set(buffer, (id = this.nextId++));
    return id;
  }

  destroy(): void {
    this.device.destroy();
  }
}

/** Limits that Qwench raises above WebGPU's defaults, to what the adapter has. */
const RAISED = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
] as const;

/**
 * Opens a device with the features and limits that the adapter has.
 *
 * @throws {GpuError} when the adapter refuses the device
 */
export async function requestGpu(adapter: GPUAdapter, options: GpuOptions = {}): Promise<Gpu> {
  const off = new Set(options.disable ?? []);
  const features: GpuFeatures = {
    f16: adapter.features.has("shader-f16") && !off.has("f16"),
    subgroups: adapter.features.has("subgroups" as GPUFeatureName) && !off.has("subgroups"),
    subgroupSize: 0,
    timestamps: adapter.features.has("timestamp-query") && !off.has("timestamps"),
  };
  const { subgroupMinSize, subgroupMaxSize } = adapter.info;
  if (features.subgroups && subgroupMinSize === subgroupMaxSize) features.subgroupSize = subgroupMinSize ?? 0;
  if (options.subgroupMatrix && features.subgroups) features.matrix = subgroupMatrixOf(adapter, features.f16);
  const requiredFeatures: GPUFeatureName[] = [];
  if (features.matrix) requiredFeatures.push(SUBGROUP_MATRIX);
  if (features.f16) requiredFeatures.push("shader-f16");
  if (features.subgroups) requiredFeatures.push("subgroups" as GPUFeatureName);
  if (features.timestamps) requiredFeatures.push("timestamp-query");
  const requiredLimits = Object.fromEntries(RAISED.map((name) => [name, adapter.limits[name]]));
  const { vendor, architecture, description, device: model } = adapter.info;
  const name = [vendor, architecture, description || model].filter(Boolean).join(" ") || "unnamed adapter";
  let device: GPUDevice;
  try {
    device = await adapter.requestDevice({ label: "qwench", requiredFeatures, requiredLimits });
  } catch (error) {
    throw new GpuError(`Cannot open a device on ${name}: ${(error as Error).message}`);
  }
  const gains = features.subgroupSize === 8 && /llvmpipe/i.test(name) && !off.has("texels");
  if (gains && (await readsTexels(device))) features.texels = true;
  const gpu = new Gpu(device, features, name, options.profile, options.waiting);
  const { spares, waiting, disable } = options;
  if (spares) {
    const open = async () => requestGpu(await spares.open(), { waiting, disable });
    gpu.useSpares({ count: spares.count, open });
  }
  return gpu;
}

/** Whether kernels may read storage textures: a later addition to WGSL. */
async function readsTexels(device: GPUDevice): Promise<boolean> {
  const code = `
@group(0) @binding(0) var texels: texture_storage_2d<rgba32uint, read>;
@group(0) @binding(1) var<storage, read_write> words: array<vec4u>;
@compute @workgroup_size(1) fn main() { words[0] = textureLoad(texels, vec2u()); }`;
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code, label: "probe texels" });
  device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main" } });
  return (await device.popErrorScope()) === null;
}
