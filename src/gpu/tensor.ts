import { GpuError, ShapeError } from "../errors.ts";
import type { Block } from "./pool.ts";

/**
 * Element types. bf16 and u8 lie packed in u32 words: WGSL has neither. int8 and nf4 are frozen weights in blocks of 64
 * elements in row-major order: the codes, then a f32 scale a block.
 */
export type DType = "f32" | "f16" | "bf16" | "u32" | "i32" | "u8" | "int8" | "nf4";

const BYTES: Record<DType, number> = { f32: 4, f16: 2, bf16: 2, u32: 4, i32: 4, u8: 1, int8: 1, nf4: 0.5 };

/** Elements that share a scale. */
export const QUANT_BLOCK = 64;

/** Whether elements are codes with a scale a block. */
export function isQuantized(dtype: DType): dtype is "int8" | "nf4" {
  return dtype === "int8" || dtype === "nf4";
}

/** Bytes of `count` codes, without scales, in whole words. */
export function codeBytes(count: number, dtype: DType): number {
  return Math.ceil((count * BYTES[dtype]) / 4) * 4;
}

/** Bytes that `count` elements take, rounded up to whole 4-byte words as WebGPU copies and binds them. */
export function byteLength(count: number, dtype: DType): number {
  return codeBytes(count, dtype) + (isQuantized(dtype) ? 4 * Math.ceil(count / QUANT_BLOCK) : 0);
}

/** Number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((n, d) => n * d, 1);
}

/**
 * A row-major, packed array on the GPU: a range of a buffer with a shape. Views share the buffer. Frozen weights lie in a
 * texture where kernels read those quicker, see `TensorStorage`.
 */
export interface Tensor {
  readonly label: string;
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** null: `texture` has the content */
  readonly buffer: GPUBuffer | null;
  readonly texture?: GPUTexture;
  /** where the first element lies in the buffer, in bytes */
  readonly offset: number;
  /** bytes from `offset`, a multiple of 4 */
  readonly bytes: number;
  /** what the pool handed out; null for a view, which must not be released */
  readonly block: Block | null;
}

/** Whether a tensor lies in a texture: products can read it there, other kernels get a copy in a buffer. */
export function inTexture({ texture }: Tensor): boolean {
  return texture !== undefined;
}

/** The buffer of a tensor. @throws {GpuError} it lies in a texture */
export function bufferOf({ buffer, label, shape }: Tensor): GPUBuffer {
  if (buffer) return buffer;
  throw new GpuError(`Cannot use ${label} [${shape}] as a buffer: it lies in a texture, which products read only`);
}

/**
 * A tensor over part of another's memory.
 *
 * @param start first element, counted in elements of `dtype`
 * @throws {ShapeError} when the range passes the end of `base`
 * @throws {GpuError} `base` lies in a texture
 */
export function view(
  base: Tensor,
  shape: readonly number[],
  start = 0,
  label = base.label,
  dtype = base.dtype,
): Tensor {
  if (isQuantized(base.dtype) || isQuantized(dtype)) {
    throw new ShapeError(
      `Cannot view ${label} [${shape}]: blocks of ${base.label}, ${base.dtype}, have their scales elsewhere`,
    );
  }
  const offset = base.offset + start * BYTES[dtype];
  const bytes = byteLength(sizeOf(shape), dtype);
  if (offset + bytes > base.offset + base.bytes) {
    throw new ShapeError(
      `Cannot view ${label} [${shape}] ${dtype} at element ${start} of ${base.label}: it ends ${offset + bytes - base.offset - base.bytes} bytes past its ${base.bytes}`,
    );
  }
  return { label, shape, dtype, buffer: bufferOf(base), offset, bytes, block: null };
}
