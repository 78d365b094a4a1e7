import { NF4 } from "../../shaders/lib/load.ts";
import { ShapeError } from "../errors.ts";
import { dynamicMap, nearestCode } from "./dynamic-map.ts";

/**
 * 4-bit weights: codes into the NF4 map, two per byte (the first in the high half), and the largest magnitude per
 * block.
 */
interface Nf4 {
  /** `[⌈n / 2⌉]`; an odd n leaves the last low half 0 */
  codes: Uint8Array;
  /** f32 `[⌈n / 64⌉]`, the scales; with double quantisation, already decoded */
  absmax: Float32Array;
  /** storage of absmax if it is quantised itself, else null */
  nested: NestedAbsmax | null;
}

/** bitsandbytes' double quantisation: `absmax ≈ map[codes]·absmax₂ + offset`, absmax₂ for 256 of them. */
interface NestedAbsmax {
  /** u8 `[⌈n / 64⌉]` */
  codes: Uint8Array;
  /** f32 `[⌈n / 64 / 256⌉]` */
  absmax: Float32Array;
  /** the mean of absmax before quantisation */
  offset: number;
}

export const NF4_BLOCK = 64;
export const NESTED_BLOCK = 256;

/** Midpoints between neighbours: values above a midpoint get the upper code. */
const MIDPOINTS = Float32Array.from([
  ...NF4.slice(1).map((upper, i) => (upper + NF4[i]) / 2),
  Number.POSITIVE_INFINITY,
]);
const TABLE = Float32Array.from(NF4);
/** Intervals of [-1, 1] so short that each contains at most one midpoint, and the lowest code of each. */
const PARTS = 1024;
const LOWEST = Uint8Array.from({ length: PARTS + 1 }, (_, i) =>
  MIDPOINTS.findIndex((middle) => (2 * i) / PARTS - 1 <= middle),
);

/**
 * Quantises as bitsandbytes does: each block of 64 is divided by its largest magnitude, and each value gets the nearest
 * code. A tensor can be quantised in pieces of whole blocks.
 *
 * @param into codes of two values a byte, `[⌈n / 2⌉]`
 * @param absmax `[⌈n / 64⌉]`
 * @see kQuantizeBlockwise of bitsandbytes, arXiv:2305.14314
 */
export function encodeNf4(values: Float32Array, into: Uint8Array, absmax: Float32Array): void {
  const n = values.length;
  if (into.length !== Math.ceil(n / 2) || absmax.length !== Math.ceil(n / NF4_BLOCK)) {
    throw new ShapeError(`Cannot quantise ${n} values into ${into.length} bytes and ${absmax.length} scales`);
  }
  for (let block = 0, at = 0; block < absmax.length; block++, at += NF4_BLOCK) {
    const end = Math.min(n, at + NF4_BLOCK);
    const most = largestOf(values, at, end);
    absmax[block] = most;
    const inverse = most > 0 ? Math.fround(1 / most) : 0;
    for (let i = at; i < end; i++) {
      const x = Math.fround(values[i] * inverse);
      // x is at most 1, except for rounding: an index past the end means the last interval
      const lowest = LOWEST[((x + 1) * (PARTS / 2)) | 0];
      const code = x > MIDPOINTS[lowest] ? lowest + 1 : lowest;
      if (i & 1) into[i >> 1] |= code;
      else into[i >> 1] = code << 4;
    }
  }
}

/** Quantises the scales, and returns their decoded values. */
export function nestAbsmax(absmax: Float32Array): { nested: NestedAbsmax; absmax: Float32Array } {
  const map = dynamicMap(true);
  let sum = 0;
  for (const value of absmax) sum += value;
  const offset = Math.fround(sum / absmax.length);
  const codes = new Uint8Array(absmax.length);
  const largest = new Float32Array(Math.ceil(absmax.length / NESTED_BLOCK));
  for (let block = 0; block < largest.length; block++) {
    const end = Math.min(absmax.length, (block + 1) * NESTED_BLOCK);
    let most = 0;
    for (let i = block * NESTED_BLOCK; i < end; i++) most = Math.max(most, Math.abs(Math.fround(absmax[i] - offset)));
    largest[block] = most;
    const inverse = most > 0 ? 1 / most : 0;
    for (let i = block * NESTED_BLOCK; i < end; i++)
      codes[i] = nearestCode(map, Math.fround(absmax[i] - offset) * inverse);
  }
  const nested = { codes, absmax: largest, offset };
  return { nested, absmax: unnestAbsmax(nested) };
}

/**
 * Decodes quantised scales.
 *
 * @param map of the codes, f32 `[256]`; default bitsandbytes' signed dynamic map
 */
export function unnestAbsmax(
  { codes, absmax, offset }: NestedAbsmax,
  map: ArrayLike<number> = dynamicMap(true),
): Float32Array {
  const table = Float32Array.from(map);
  return Float32Array.from(
    codes,
    (code, i) => Math.fround(table[code] * absmax[Math.floor(i / NESTED_BLOCK)]) + offset,
  );
}

/** Quantises a whole tensor. @param double also quantise the scales */
export function quantizeNf4(values: Float32Array, { double = false }: { double?: boolean } = {}): Nf4 {
  const codes = new Uint8Array(Math.ceil(values.length / 2));
  const absmax = new Float32Array(Math.ceil(values.length / NF4_BLOCK));
  encodeNf4(values, codes, absmax);
  if (!double) return { codes, absmax, nested: null };
  const { nested, absmax: rounded } = nestAbsmax(absmax);
  return { codes, absmax: rounded, nested };
}

/** Decodes values, f32 `[n]`. */
export function dequantizeNf4(codes: Uint8Array, absmax: Float32Array, n: number): Float32Array {
  const values = new Float32Array(n);
  for (let i = 0; i < n; i++)
    values[i] = TABLE[(codes[i >> 1] >> (i & 1 ? 0 : 4)) & 15] * absmax[Math.floor(i / NF4_BLOCK)];
  return values;
}

/**
 * 8-bit values: `codes · scale`, one scale per 64 values. Differs from bitsandbytes' LLM.int8, which has one scale per
 * row.
 */
export function encodeInt8(values: Float32Array, into: Int8Array, scales: Float32Array): void {
  const n = values.length;
  if (into.length !== n || scales.length !== Math.ceil(n / NF4_BLOCK)) {
    throw new ShapeError(`Cannot quantise ${n} values into ${into.length} bytes and ${scales.length} scales`);
  }
  for (let block = 0, at = 0; block < scales.length; block++, at += NF4_BLOCK) {
    const end = Math.min(n, at + NF4_BLOCK);
    scales[block] = largestOf(values, at, end) / 127;
    const inverse = scales[block] > 0 ? 1 / scales[block] : 0;
    for (let i = at; i < end; i++) into[i] = Math.max(-127, Math.min(127, Math.round(values[i] * inverse)));
  }
}

function largestOf(values: Float32Array, from: number, end: number): number {
  let most = 0;
  for (let i = from; i < end; i++) {
    const size = Math.abs(values[i]);
    if (size > most) most = size;
  }
  return most;
}
