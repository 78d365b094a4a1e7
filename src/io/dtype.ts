import { FormatError, UnsupportedError } from "../errors.ts";

/** Bytes per element, by safetensors dtype name, in the order of Hugging Face's writer. */
export const DTYPE_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  F64: 8,
  I64: 8,
  U64: 8,
} as const;

/** A safetensors dtype name. */
export type Dtype = keyof typeof DTYPE_BYTES;

/** Whether `value` is the name of a dtype that Qwench can read and write. */
export function isDtype(value: unknown): value is Dtype {
  return typeof value === "string" && Object.hasOwn(DTYPE_BYTES, value);
}

const word = new Uint32Array(1);
const single = new Float32Array(word.buffer);

/** Little-endian 16-bit words of `bytes`, copied only if the offset is odd. */
function words16(bytes: Uint8Array): Uint16Array {
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >> 1);
}

function words32(bytes: Uint8Array): Uint32Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >> 2);
}

function checkWhole(bytes: Uint8Array, dtype: Dtype): void {
  if (bytes.length % DTYPE_BYTES[dtype] !== 0) {
    throw new FormatError(`Cannot read ${bytes.length} bytes as ${dtype}: an element has ${DTYPE_BYTES[dtype]} bytes`);
  }
}

/** IEEE binary16 bits to their value; exact. */
export function f16ToF32(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

let halves: Float32Array | undefined;

/**
 * Widens tensor bytes to f32; exact for F32, F16 and BF16.
 *
 * @param bytes little-endian elements, a whole number of them; F32 at an aligned offset is viewed, not copied
 * @throws {UnsupportedError} for any other dtype
 */
export function toFloat32(bytes: Uint8Array, dtype: Dtype): Float32Array {
  if (dtype !== "F32" && dtype !== "F16" && dtype !== "BF16") {
    throw new UnsupportedError(`Cannot read a ${dtype} tensor as f32: Qwench reads floats in F32, F16 and BF16 only`);
  }
  checkWhole(bytes, dtype);
  if (dtype === "F32") {
    const words = words32(bytes);
    return new Float32Array(words.buffer, words.byteOffset, words.length);
  }
  const bits = words16(bytes);
  const out = new Float32Array(bits.length);
  if (dtype === "BF16") {
    const outBits = new Uint32Array(out.buffer);
    for (let i = 0; i < bits.length; i++) outBits[i] = bits[i]! << 16;
  } else {
    halves ??= Float32Array.from({ length: 65536 }, (_, i) => f16ToF32(i));
    for (let i = 0; i < bits.length; i++) out[i] = halves[bits[i]!]!;
  }
  return out;
}

/** Rounds to bf16 bits, to nearest, ties to even, as torch does; NaN stays NaN. */
export function f32ToBf16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) {
    const b = bits[i]!;
    out[i] = (b & 0x7fffffff) > 0x7f800000 ? (b >>> 16) | 0x40 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  }
  return out;
}

/**
 * Rounds to IEEE binary16 bits, to nearest, ties to even; values above 65504 (rounded) become infinity, NaN stays NaN.
 */
export function f32ToF16(values: Float32Array): Uint16Array {
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) {
    single[0] = values[i]!;
    const b = word[0]!;
    const sign = (b >>> 16) & 0x8000;
    const size = b & 0x7fffffff;
    if (size > 0x7f800000) out[i] = sign | 0x7e00;
    else if (size >= 0x47800000) out[i] = sign | 0x7c00;
    else if (size >= 0x38800000) {
      // Rebias the exponent by 112, then drop 13 bits; a carry into the exponent gives the right result.
      out[i] = sign | ((size - 0x38000000 + 0xfff + ((size >>> 13) & 1)) >>> 13);
    } else {
      // Subnormal: a multiple of 2^-24; rounding the scaled value as a double avoids a second rounding.
      out[i] = sign | roundToEven(Math.abs(values[i]!) * 2 ** 24);
    }
  }
  return out;
}

function roundToEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

/**
 * Index of the first NaN or infinity in the bytes of a float tensor, or −1. One pass over the raw words takes about a
 * nanosecond per element, fast enough to check a checkpoint while it loads.
 *
 * @param bytes little-endian F32, F16 or BF16 elements; other dtypes have none
 */
export function findNonFinite(bytes: Uint8Array, dtype: Dtype): number {
  if (dtype === "F32") {
    const bits = words32(bytes);
    for (let i = 0; i < bits.length; i++) if ((bits[i]! & 0x7f800000) === 0x7f800000) return i;
  } else if (dtype === "BF16" || dtype === "F16") {
    const mask = dtype === "BF16" ? 0x7f80 : 0x7c00;
    const bits = words16(bytes);
    for (let i = 0; i < bits.length; i++) if ((bits[i]! & mask) === mask) return i;
  }
  return -1;
}
