import { FormatError, UnsupportedError } from "../../errors.ts";
import { f16ToF32, f32ToBf16, f32ToF16, toFloat32 } from "../dtype.ts";
import { bytesOf } from "../safetensors.ts";
import { GGML_TYPES, type GgmlType } from "./gguf.ts";

/**
 * Encodes f32 values with the same bits as ggml's reference (ggml-quants.c, `quantize_row_*_ref`).
 *
 * - F16, BF16: to nearest, ties to even.
 * - Q8_0: blocks of 32: `d` = largest magnitude / 127 in f16, then 32 × int8, x / d rounded half away from zero.
 * - Q4_0: blocks of 32: `d` = the value of largest magnitude / −8 in f16, then 16 bytes, x / d + 8.5 truncated to 0 …
 * 15; byte j
 *   holds element j in the low half and element j + 16 in the high half.
 *
 * @param values whole blocks
 * @throws {UnsupportedError} values that the type, or the f16 scale of a block, cannot hold
 */
export function quantize(values: Float32Array, type: GgmlType): Uint8Array {
  checkBlocks(values.length, GGML_TYPES[type].block, type);
  switch (type) {
    case "F32":
      return bytesOf(values);
    case "BF16":
      return bytesOf(f32ToBf16(values));
    case "F16":
      return bytesOf(checkF16(f32ToF16(values), values, type));
    case "Q8_0":
      return quantizeQ8(values);
    case "Q4_0":
      return quantizeQ4(values);
  }
}

/** Decodes whole blocks to f32 values. */
export function dequantize(bytes: Uint8Array, type: GgmlType): Float32Array {
  checkBlocks(bytes.length, GGML_TYPES[type].bytes, type);
  if (type === "F32" || type === "F16" || type === "BF16") return toFloat32(bytes, type);
  const { block, bytes: size } = GGML_TYPES[type];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out = new Float32Array((bytes.length / size) * block);
  for (let at = 0, to = 0; at < bytes.length; at += size, to += block) {
    const d = f16ToF32(view.getUint16(at, true));
    if (type === "Q8_0") {
      for (let j = 0; j < block; j++) out[to + j] = d * view.getInt8(at + 2 + j);
    } else {
      for (let j = 0; j < 16; j++) {
        const pair = bytes[at + 2 + j];
        out[to + j] = d * ((pair & 15) - 8);
        out[to + j + 16] = d * ((pair >> 4) - 8);
      }
    }
  }
  return out;
}

function quantizeQ8(values: Float32Array): Uint8Array {
  const blocks = values.length / 32;
  const out = new Uint8Array(blocks * 34);
  const scales = new Float32Array(blocks);
  for (let b = 0; b < blocks; b++) {
    const x = values.subarray(32 * b, 32 * b + 32);
    let largest = 0;
    for (let j = 0; j < 32; j++) largest = Math.max(largest, Math.abs(x[j]));
    const d = Math.fround(largest / 127);
    const inverse = d === 0 ? 0 : Math.fround(1 / d);
    scales[b] = d;
    for (let j = 0; j < 32; j++) {
      const scaled = Math.fround(x[j] * inverse);
      out[34 * b + 2 + j] = Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5); // −1 is stored as 255
    }
  }
  return withScales(out, scales, 34, "Q8_0");
}

function quantizeQ4(values: Float32Array): Uint8Array {
  const blocks = values.length / 32;
  const out = new Uint8Array(blocks * 18);
  const scales = new Float32Array(blocks);
  const code = (x: number, inverse: number) => Math.min(15, Math.trunc(Math.fround(Math.fround(x * inverse) + 8.5)));
  for (let b = 0; b < blocks; b++) {
    const x = values.subarray(32 * b, 32 * b + 32);
    let largest = 0;
    for (let j = 0; j < 32; j++) if (Math.abs(x[j]) > Math.abs(largest)) largest = x[j];
    const d = Math.fround(largest / -8);
    const inverse = d === 0 ? 0 : Math.fround(1 / d);
    scales[b] = d;
    for (let j = 0; j < 16; j++) out[18 * b + 2 + j] = code(x[j], inverse) | (code(x[j + 16], inverse) << 4);
  }
  return withScales(out, scales, 18, "Q4_0");
}

/** Puts the f16 scale before each block. */
function withScales(out: Uint8Array, scales: Float32Array, size: number, type: GgmlType): Uint8Array {
  const halves = checkF16(f32ToF16(scales), scales, `${type}'s scale`);
  for (let b = 0; b < halves.length; b++) {
    out[size * b] = halves[b] & 255;
    out[size * b + 1] = halves[b] >> 8;
  }
  return out;
}

function checkF16(halves: Uint16Array, values: Float32Array, what: string): Uint16Array {
  for (let i = 0; i < halves.length; i++) {
    if ((halves[i] & 0x7c00) === 0x7c00) {
      throw new UnsupportedError(`Cannot store ${values[i]} as ${what}: f16 ends at 65504; use BF16`);
    }
  }
  return halves;
}

function checkBlocks(length: number, block: number, type: GgmlType): void {
  if (length % block !== 0)
    throw new FormatError(`Cannot convert ${type} data of length ${length}: the length must be a multiple of ${block}`);
}
