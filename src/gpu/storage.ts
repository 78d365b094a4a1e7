import type { MemoryKind, Pool } from "./pool.ts";
import { bufferOf, byteLength, type DType, sizeOf, type Tensor } from "./tensor.ts";

/**
 * How a kernel reads a tensor that it declares as a texture: "linear" as in a buffer, in rows of 4096 texels; "strips" of a
 * matrix `[rows, columns]` 16 texels wide, each an array layer, so that what a kernel reads down a column lies together and
 * not in a page a row.
 */
export type TextureLayout = "linear" | "strips";

/** How a kernel sees a texture of each layout. */
export const TEXTURE_VIEWS = { linear: "2d", strips: "2d-array" } as const;

export function isTextureLayout(kind: string): kind is TextureLayout {
  return kind in TEXTURE_VIEWS;
}

/** What a kernel declares for one of its tensors. */
export interface Slot {
  readonly name: string;
  readonly kind: "read" | "write" | TextureLayout;
}

/** What storage asks of a recording. */
export interface Recording {
  /** records a copy in its place among the dispatches */
  encode(copy: (encoder: GPUCommandEncoder) => void): void;
  empty(shape: readonly number[], dtype: DType, label: string, kind: MemoryKind): Tensor;
  copy(from: Tensor, to: Tensor): void;
}

/** What a dispatch binds. */
export interface Bound {
  /** by name; a tensor that the kernel cannot read where it lies is another, in a buffer */
  readonly tensors: Record<string, Tensor>;
  /** by name: of slots that are declared as textures */
  readonly textures: ReadonlyMap<string, GPUTexture> | null;
  /** buffers that were made for this dispatch; the recording releases them */
  readonly spilled: readonly Tensor[];
}

/**
 * Where frozen weights lie, and what kernels read in place of a buffer. Recorder and kernels know this much; how an adapter
 * wants it is the implementation's.
 */
export interface TensorStorage {
  /** A long-lived matrix of weights that no kernel will write. Zero until written. */
  hold(shape: readonly number[], dtype: DType, label: string): Tensor;
  /** Queues bytes to be written from byte `start` of a tensor on. @throws {GpuError} where the place cannot be written so */
  write(tensor: Tensor, start: number, bytes: Uint8Array<ArrayBuffer>): void;
  /** Copies all bytes of a tensor to byte `offset` of a buffer, outside of any pass. */
  copyOut(encoder: GPUCommandEncoder, tensor: Tensor, to: GPUBuffer, offset: number): void;
  /** To be told before a buffer is written by anything but a dispatch. */
  written(buffer: GPUBuffer): void;
  /** What a dispatch binds for its tensors: copies to be made first go into the recording. */
  bind(slots: readonly Slot[], tensors: Record<string, Tensor>, recording: Recording): Bound;
  /** A recording begins to be kept for later: it must not count on copies that were made before. */
  captured(): void;
  /** A recording was submitted. */
  submitted(recording: Recording): void;
  /** A step ended. */
  endStep(): void;
  /** Whether a kernel may declare this tensor as a texture. */
  reads(tensor: Tensor): boolean;
  /** Whether it may do so in strips. */
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

/** Everything lies in buffers, and kernels read those: every GPU, and most CPU adapters. */
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

  reads(_tensor: Tensor): boolean {
    return false;
  }

  strips(_tensor: Tensor): boolean {
    return false;
  }

  // nothing is copied, so that nothing grows stale
  written(_buffer: GPUBuffer): void {}
  captured(): void {}
  submitted(_recording: Recording): void {}
  endStep(): void {}
}
