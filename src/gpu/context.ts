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

/** What the adapter offers and Qwench uses. */
export interface GpuFeatures {
  f16: boolean;
  subgroups: boolean;
  /** WGSL tells a subgroup's number, and kernels use it */
  subgroupId?: boolean;
  timestamps: boolean;
  /** matrices of a subgroup that products may be multiplied by, where that was asked for: operands are then rounded */
  matrix?: SubgroupMatrix | null;
}

/** Hears how many waits for the GPU are under way. */
export interface Waiting {
  begin(): void;
  end(): void;
}

/** What a device is opened with. */
interface ContextOptions {
  features: GpuFeatures;
  profile: AdapterProfile;
  /** time every kernel, where the adapter has timestamps */
  profiler?: boolean;
  waiting?: Waiting | null;
}

const UPLOAD_BYTES = 16 << 20;
/** A 0.5B step binds some two thousand. */
const MOST_BIND_GROUPS = 16_384;

/** A device with its pool, caches and faults: what the recorder and the kernels need of WebGPU. */
export class GpuContext {
  readonly device: GPUDevice;
  readonly features: GpuFeatures;
  /** how kernels suit themselves to the adapter */
  readonly profile: AdapterProfile;
  readonly limits: GPUSupportedLimits;
  /** vendor, architecture and description in one line; names the adapter in tuning files and reports */
  readonly adapterName: string;
  readonly pool: Pool;
  /** where frozen weights lie, and what kernels read in place of a buffer */
  readonly storage: TensorStorage;
  readonly programs: ProgramCache;
  readonly arena: UniformArena;
  readonly staging: StagingRing;
  readonly pace: Pace;
  readonly profiler: Profiler | null;
  readonly bindGroups = new BindGroups();
  /** which variant won for which shape class, by a kernel's own keys; saved with checkpoints, for exact resume */
  readonly tuning = new Map<string, string>();
  private fault: GpuError | null = null;
  private readonly watched = new Set<Promise<unknown>>();
  private dropped = 0;

  private readonly waiting: Waiting | null;

  constructor(device: GPUDevice, { features, profile, profiler = false, waiting = null }: ContextOptions) {
    const adapterName = profile.name;
    this.waiting = waiting;
    this.device = device;
    this.features = features;
    this.profile = profile;
    this.limits = device.limits;
    this.adapterName = adapterName;
    this.pool = new Pool(device);
    this.storage = new (profile.operands === "textures" ? TextureStorage : BufferStorage)(device, this.pool);
    this.programs = new ProgramCache(device, features, (fault) => this.watch(fault));
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

  /** A long-lived tensor: of exactly its size, zero until written. */
  persistent(shape: readonly number[], dtype: DType, label: string, kind: MemoryKind): Tensor {
    return inBuffer(this.pool, shape, dtype, label, kind);
  }

  /** A matrix of weights that no kernel will write: in a texture where products read those quicker. Zero until written. */
  frozen(shape: readonly number[], dtype: DType, label: string): Tensor {
    return this.storage.hold(shape, dtype, label);
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
    for (let at = 0; at < bytes.length; at += UPLOAD_BYTES) {
      this.storage.write(tensor, start + at, bytes.subarray(at, at + UPLOAD_BYTES));
    }
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
    this.storage.endStep();
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

  destroy(): void {
    this.device.destroy();
  }
}
