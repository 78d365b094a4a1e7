import type { SubgroupMatrix } from "../../shaders/matmul/lib/variant.ts";
import { GpuError } from "../errors.ts";
import { UniformArena } from "./arena.ts";
import { BindGroups } from "./bind-groups.ts";
import { TextureStorage } from "./cpu-adapters/textures.ts";
import { Pace } from "./pace.ts";
import { type MemoryKind, Pool } from "./pool.ts";
import type { AdapterProfile } from "./profile.ts";
import { Profiler } from "./profiler.ts";
import { ProgramCache } from "./program.ts";
import { StagingRing } from "./staging.ts";
import { BufferStorage, inBuffer, type TensorStorage } from "./storage.ts";
import type { DType, Tensor } from "./tensor.ts";

/**
 * How products round their operands, as torch names it: f32 ("highest"), or f16 with a scale for each row and f32 sums,
 * where the adapter has matrix units for that ("high").
 */
export type MatmulPrecision = "highest" | "high";

/** How what a run keeps is stored: activations for the backward pass, keys and values, logits. Sums are f32 in either case. */
export type ActivationStorage = "f32" | "bf16";

/** Optional features that Qwench uses. */
export interface GpuFeatures {
  f16: boolean;
  subgroups: boolean;
  /** kernels use WGSL's subgroup_id */
  subgroupId?: boolean;
  timestamps: boolean;
  /** the adapter's matrix units, if their test gave the right numbers */
  matrix?: SubgroupMatrix | null;
}

/** Called with the number of pending waits for the GPU. */
export interface Waiting {
  begin(): void;
  end(): void;
}

/** Options for opening a device. */
interface ContextOptions {
  features: GpuFeatures;
  profile: AdapterProfile;
  /** time every kernel, if the adapter has timestamps */
  profiler?: boolean;
  waiting?: Waiting | null;
  /** kernels that are compiled on the device already */
  programs?: ProgramCache | null;
}

const UPLOAD_BYTES = 16 << 20;
/** A step of a 0.5B model has about two thousand bind groups. */
const MOST_BIND_GROUPS = 16_384;

/** Measured variants. */
class Tuning extends Map<string, string> {
  /** increases with every change */
  version = 0;

  override set(key: string, value: string): this {
    this.version++;
    return super.set(key, value);
  }

  override delete(key: string): boolean {
    this.version++;
    return super.delete(key);
  }

  override clear(): void {
    this.version++;
    super.clear();
  }
}

/** A device with its pool, caches and errors: the recorder's and the kernels' access to WebGPU. */
export class GpuContext {
  readonly device: GPUDevice;
  readonly features: GpuFeatures;
  /** kernel choices for the adapter */
  readonly profile: AdapterProfile;
  readonly limits: GPUSupportedLimits;
  /** vendor, architecture and description in one line; identifies the adapter in tuning files and reports */
  readonly adapterName: string;
  readonly pool: Pool;
  /** storage of frozen weights, and the textures that kernels read instead of buffers */
  readonly storage: TensorStorage;
  readonly programs: ProgramCache;
  readonly arena: UniformArena;
  readonly staging: StagingRing;
  readonly pace: Pace;
  readonly profiler: Profiler | null;
  readonly bindGroups = new BindGroups();
  /** of products from now on; "high" changes nothing on devices without matrix units of f16 */
  precision: MatmulPrecision = "highest";
  /** of tensors that are kept from now on */
  activations: ActivationStorage = "f32";
  /** the fastest variant per shape class, under a kernel's own keys; saved with checkpoints for exact resume */
  readonly tuning = new Tuning();
  private fault: GpuError | null = null;
  private readonly watched = new Set<Promise<unknown>>();
  private dropped = 0;

  protected readonly waiting: Waiting | null;

  constructor(
    device: GPUDevice,
    { features, profile, profiler = false, waiting = null, programs = null }: ContextOptions,
  ) {
    const adapterName = profile.name;
    this.waiting = waiting;
    this.device = device;
    this.features = features;
    this.profile = profile;
    this.limits = device.limits;
    this.adapterName = adapterName;
    this.pool = new Pool(device);
    this.storage =
      profile.operands === "textures"
        ? new TextureStorage(device, this.pool, profile.panelBytes)
        : new BufferStorage(device, this.pool);
    this.programs = new ProgramCache(device, features, (fault) => this.watch(fault), programs);
    this.arena = new UniformArena(device);
    this.staging = new StagingRing(device, (wait) => this.wait(wait));
    this.pace = new Pace(device, (wait) => this.wait(wait), profile);
    this.profiler = profiler && features.timestamps ? new Profiler(device) : null;
    void device.lost.then(({ reason, message }) => {
      const how = reason === "destroyed" ? "destroyed" : `lost: ${message || reason || "no reason given"}`;
      this.fault ??= new GpuError(`The device of ${adapterName} was ${how}`);
    });
    device.addEventListener?.("uncapturederror", (event) => {
      event.preventDefault?.();
      this.fault ??= new GpuError(`${adapterName} reports: ${event.error.message}`);
    });
  }

  /** A long-lived tensor of exactly its size; zeros until written. */
  persistent(shape: readonly number[], dtype: DType, label: string, kind: MemoryKind): Tensor {
    return inBuffer(this.pool, shape, dtype, label, kind);
  }

  /** A weight matrix that no kernel writes: in a texture if products read that faster. Zeros until written. */
  frozen(shape: readonly number[], dtype: DType, label: string): Tensor {
    return this.storage.hold(shape, dtype, label);
  }

  /** A long-lived tensor with initial values. */
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

  /** Queues a write of bytes at byte offset `start` of a tensor, before the next submission. */
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
    for (let at = 0; at < bytes.length; at += UPLOAD_BYTES) {
      this.storage.write(tensor, start + at, bytes.subarray(at, at + UPLOAD_BYTES));
    }
  }

  /** Frees a long-lived tensor now. Submitted work that uses it must have finished (`settle`). */
  drop(...tensors: Tensor[]): void {
    for (const { block } of tensors) if (block) this.pool.drop(block);
    this.bindGroups.clear();
  }

  /** Frees every tensor, to load another model. Compiled programs stay; all tensors become invalid. */
  async clear(): Promise<void> {
    await this.settle();
    this.pool.clear();
    this.bindGroups.clear();
  }

  /** Frees all unused memory: call it between phases, or when the host needs memory. */
  trim(): void {
    this.pool.trim();
    this.bindGroups.clear();
  }

  /** Marks a step boundary: frees idle buffers. */
  endStep(): void {
    this.pool.endStep();
    this.storage.endStep();
    // Bind groups keep dropped buffers alive, and steps of new lengths keep adding bind groups.
    if (this.pool.dropped !== this.dropped || this.bindGroups.size > MOST_BIND_GROUPS) this.bindGroups.clear();
    this.dropped = this.pool.dropped;
  }

  /** Waits until the queue is empty; throws the first error. */
  async settle(): Promise<void> {
    await this.wait(this.device.queue.onSubmittedWorkDone());
    await this.verified();
  }

  /** Waits for the device's error scopes of all work submitted so far; throws the first error. */
  async verified(): Promise<void> {
    await Promise.all(this.watched);
    this.check();
  }

  /** Returns a promise of the device, and tells the platform that something waits for it. */
  wait<T>(promise: Promise<T>): Promise<T> {
    if (!this.waiting) return promise;
    this.waiting.begin();
    const end = () => this.waiting!.end();
    promise.then(end, end);
    return promise;
  }

  /** Throws the first reported error, if any. */
  check(): void {
    if (this.fault) throw this.fault;
  }

  /** Records the error that a promise may resolve to. */
  watch(fault: Promise<GpuError | null>): void {
    const earlier = [...this.watched];
    const done = fault
      .catch((error) => new GpuError(String(error)))
      .then(async (error) => {
        if (!error) return;
        await Promise.all(earlier); // report the cause, such as a shader that did not compile, before its consequences
        this.fault ??= error;
      });
    this.watched.add(done);
    void done.finally(() => this.watched.delete(done));
  }

  destroy(): void {
    this.device.destroy();
  }
}
