import type { MemoryKind, Pool } from "./pool.ts";
import { bufferOf, byteLength, type DType, sizeOf, type Tensor } from "./tensor.ts";

/**
 * The layout of a tensor in a texture. "linear": as in a buffer, in rows of 4096 texels. "strips": a matrix
 * `[rows, columns]` in strips 16 texels wide, each an array layer, so that the elements of a column are close together
 * instead of one memory page per row.
 */
export type TextureLayout = "linear" | "strips";

/** The WGSL type of each layout. */
export const TEXTURE_VIEWS = { linear: "2d", strips: "2d-array" } as const;

export function isTextureLayout(kind: string): kind is TextureLayout {
  return kind in TEXTURE_VIEWS;
}

/** A kernel's declaration of one of its tensors. */
export interface Slot {
  readonly name: string;
  readonly kind: "read" | "write" | TextureLayout;
}

/** The operations of a recording that storage needs. */
export interface Recording {
  /** records a copy, in order with the dispatches */
  encode(copy: (encoder: GPUCommandEncoder) => void): void;
  empty(shape: readonly number[], dtype: DType, label: string, kind: MemoryKind): Tensor;
  copy(from: Tensor, to: Tensor): void;
  /** submits what is recorded, if it may, so that idle memory that it uses can be freed */
  yieldIdle(): void;
}

/** The bindings of a dispatch. */
export interface Bound {
  /** by name; a tensor that the kernel cannot read in place is replaced by a copy in a buffer */
  readonly tensors: Record<string, Tensor>;
  /** by name, for slots declared as textures */
  readonly textures: ReadonlyMap<string, GPUTexture> | null;
  /** buffers created for this dispatch; the recording releases them */
  readonly spilled: readonly Tensor[];
}

/**
 * The storage of frozen weights and of operands that kernels read as textures. Recorder and kernels use this interface;
 * each kind of adapter has its implementation.
 */
export interface TensorStorage {
  /** A long-lived weight matrix that no kernel writes. Zeros until written. */
  hold(shape: readonly number[], dtype: DType, label: string): Tensor;
  /**
   * Queues a write from byte `start` of a tensor. @throws {GpuError} the storage does not allow this offset or length
   */
  write(tensor: Tensor, start: number, bytes: Uint8Array<ArrayBuffer>): void;
  /** Copies all bytes of a tensor to byte `offset` of a buffer, outside any pass. */
  copyOut(encoder: GPUCommandEncoder, tensor: Tensor, to: GPUBuffer, offset: number): void;
  /** Must be called before anything but a dispatch writes a buffer. */
  written(buffer: GPUBuffer): void;
  /** The bindings for a dispatch's tensors; records necessary copies first. */
  bind(slots: readonly Slot[], tensors: Record<string, Tensor>, recording: Recording): Bound;
  /** Must be called when a capture begins: it must not rely on earlier copies. */
  captured(): void;
  /** Must be called after a recording was submitted. */
  submitted(recording: Recording): void;
  /** A step ended. */
  endStep(): void;
  /**
   * A short-lived f32 matrix where products read it fastest: itself, or a copy that is valid until the recording asks for the next
   * one. Null: it is too large for a copy.
   */
  panel(matrix: Tensor, recording: Recording): Tensor | null;
  /** Whether a kernel may declare this tensor as a texture. */
  reads(tensor: Tensor): boolean;
  /** Whether it may do so with the layout "strips". */
  strips(tensor: Tensor): boolean;
}

/** A long-lived tensor in a buffer of exactly its size. */
export function inBuffer(
  pool: Pool,
  shape: readonly number[],
  dtype: DType,
  label: string,
  kind: MemoryKind,
): Tensor & { buffer: GPUBuffer } {
  const bytes = byteLength(sizeOf(shape), dtype);
  const block = pool.take(bytes, kind, label, true);
  return { label, shape, dtype, buffer: block.memory, offset: 0, bytes, block };
}

const NONE: readonly Tensor[] = [];

/** Keeps all tensors in buffers: for every GPU, and most CPU adapters. */
export class BufferStorage implements TensorStorage {
  protected readonly device: GPUDevice;
  protected readonly pool: Pool;

  constructor(device: GPUDevice, pool: Pool) {
    this.device = device;
    this.pool = pool;
  }

  hold(shape: readonly number[], dtype: DType, label: string): Tensor {
    return inBuffer(this.pool, shape, dtype, label, "weights");
  }

  write(tensor: Tensor, start: number, bytes: Uint8Array<ArrayBuffer>): void {
    this.device.queue.writeBuffer(bufferOf(tensor), tensor.offset + start, bytes);
  }

  copyOut(encoder: GPUCommandEncoder, tensor: Tensor, to: GPUBuffer, offset: number): void {
    encoder.copyBufferToBuffer(bufferOf(tensor), tensor.offset, to, offset, tensor.bytes);
  }

  bind(_slots: readonly Slot[], tensors: Record<string, Tensor>, _recording: Recording): Bound {
    return { tensors, textures: null, spilled: NONE };
  }

  panel(matrix: Tensor, _recording: Recording): Tensor | null {
    return matrix;
  }

  reads(_tensor: Tensor): boolean {
    return false;
  }

  strips(_tensor: Tensor): boolean {
    return false;
  }

  // there are no copies that could become stale
  written(_buffer: GPUBuffer): void {}
  captured(): void {}
  submitted(_recording: Recording): void {}
  endStep(): void {}
}
