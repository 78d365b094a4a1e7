import type { Gpu } from "../src/gpu/device.ts";
import type { Tensor } from "../src/gpu/tensor.ts";
import { codeBytes, isQuantized, sizeOf } from "../src/gpu/tensor.ts";
import { lcg } from "../src/text/hash.ts";

/** A reproducible block of random bf16 numbers in (−1, 1). Long tensors repeat it. */
const BLOCK = (() => {
  const words = new Uint16Array(1 << 20);
  const next = lcg(1);
  for (let i = 0; i < words.length; i++) {
    const state = next();
    words[i] = 0x3c00 + ((state >>> 16) % 0x380) + (state & 0x8000); // exponents 2⁻⁷ … 2⁻¹
  }
  return words;
})();

/**
 * Fills an f32 or bf16 tensor with random numbers in (−scale, scale), without a copy of the tensor in memory.
 *
 * @param scale for bf16: a power of two, 2⁻⁶⁴ to 1
 */
export function fillRandom(gpu: Gpu, tensor: Tensor, scale = 1): void {
  if (isQuantized(tensor.dtype)) {
    fillCodes(gpu, tensor, scale);
    return;
  }
  const half = tensor.dtype === "bf16";
  const exponent = Math.log2(scale);
  if (half && !(Number.isInteger(exponent) && exponent >= -64 && exponent <= 0))
    throw new Error(
      `Cannot scale ${tensor.label} by ${scale}: for bf16 the scale must be a power of two from 2⁻⁶⁴ to 1`,
    );
  const floats = half ? null : new Float32Array(new Uint32Array(BLOCK).map((word) => word << 16).buffer);
  const block = floats ? floats.map((value) => value * scale) : BLOCK.map((word) => word + exponent * 0x80);
  const count = sizeOf(tensor.shape);
  for (let at = 0; at < count; at += block.length) {
    gpu.write(tensor, block.subarray(0, Math.min(block.length, count - at)), at * (half ? 2 : 4));
  }
}

/** Random codes, with one scale for all. */
function fillCodes(gpu: Gpu, tensor: Tensor, scale: number): void {
  const bytes = codeBytes(sizeOf(tensor.shape), tensor.dtype);
  const block = new Uint8Array(BLOCK.buffer, BLOCK.byteOffset, BLOCK.byteLength);
  for (let at = 0; at < bytes; at += block.length)
    gpu.write(tensor, block.subarray(0, Math.min(block.length, bytes - at)), at);
  const scales = new Float32Array((tensor.bytes - bytes) / 4).fill(tensor.dtype === "int8" ? scale / 127 : scale);
  gpu.write(tensor, scales, bytes);
}

/** Random weights in the storage that products read: bf16 for frozen weights, f32 for full training. */
export function randomWeights(gpu: Gpu, shape: readonly number[], dtype: "f32" | "bf16", label: string): Tensor {
  if (dtype === "f32") return randomTensor(gpu, shape, dtype, label);
  const tensor = gpu.frozen(shape, dtype, label);
  fillRandom(gpu, tensor);
  return tensor;
}

/** A tensor of random numbers. */
export function randomTensor(gpu: Gpu, shape: readonly number[], dtype: "f32" | "bf16", label: string): Tensor {
  const tensor = gpu.persistent(shape, dtype, label, "scratch");
  fillRandom(gpu, tensor);
  return tensor;
}
