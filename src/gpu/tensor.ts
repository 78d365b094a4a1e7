import { GpuError, ShapeError } from "../errors.ts";
import type { Block } from "./pool.ts";

/**
 * Element types. bf16 and u8 are packed in u32 words, because WGSL has neither. int8 and nf4 are frozen weights in
 * blocks of 64 elements in row-major order: all codes, then one f32 scale per block.
 */
export type DType = "f32" | "f16" | "bf16" | "u32" | "i32" | "u8" | "int8" | "nf4";

const BYTES: Record<DType, number> = { f32: 4, f16: 2, bf16: 2, u32: 4, i32: 4, u8: 1, int8: 1, nf4: 0.5 };

/** Elements that share a scale. */
export const QUANT_BLOCK = 64;

/** Whether elements are codes with one scale per block. */
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
 * A row-major, packed array on the GPU: a range of a buffer with a shape. Views share the buffer. Frozen weights are in
 * a texture if kernels read that faster, see `TensorStorage`.
 */
export interface Tensor {
  readonly label: string;
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** null: the content is in `texture` */
  readonly buffer: GPUBuffer | null;
  readonly texture?: GPUTexture;
  /** byte offset of the first element in the buffer */
  readonly offset: number;
  /** bytes from `offset`, a multiple of 4 */
  readonly bytes: number;
  /** the pool's block; null for a view, which must not be released */
  readonly block: Block | null;
  /** the block's when the tensor was made; another one now: the block is another tensor's */
  readonly lease?: number;
}

/** Whether a tensor is in a texture: products can read it there, other kernels get a copy in a buffer. */
export function inTexture({ texture }: Tensor): boolean {
  return texture !== undefined;
}

/** The buffer of a tensor. @throws {GpuError} it is in a texture */
export function bufferOf({ buffer, label, shape }: Tensor): GPUBuffer {
  if (buffer) return buffer;
  throw new GpuError(`Cannot use ${label} [${shape}] as a buffer: it is in a texture, which only products can read`);
}

/**
 * A tensor over part of another's memory.
 *
 * @param start first element, counted in elements of `dtype`
 * @throws {ShapeError} the range exceeds `base`
 * @throws {GpuError} `base` is in a texture
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
      `Cannot view ${label} [${shape}]: ${base.label} is ${base.dtype}, whose scales are stored after all codes`,
    );
  }
  const offset = base.offset + start * BYTES[dtype];
  const bytes = byteLength(sizeOf(shape), dtype);
  if (offset + bytes > base.offset + base.bytes) {
    throw new ShapeError(
      `Cannot view ${label} [${shape}] ${dtype} at element ${start} of ${base.label}: it ends ${offset + bytes - base.offset - base.bytes} bytes beyond its ${base.bytes}`,
    );
  }
  return { label, shape, dtype, buffer: bufferOf(base), offset, bytes, block: null };
}

/** Adds the buffers of all tensors in a value: a tensor, or an object or array of them. */
export function collectBuffers(value: unknown, into: Set<unknown>): void {
  if (value === null || typeof value !== "object") return;
  if ("buffer" in value && "block" in value) into.add((value as Tensor).buffer);
  else if (Object.getPrototypeOf(value) === Object.prototype || Array.isArray(value)) {
    for (const item of Object.values(value)) collectBuffers(item, into);
  }
}
