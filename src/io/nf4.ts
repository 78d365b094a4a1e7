import { NF4 } from "../../shaders/lib/load.ts";
import { ShapeError } from "../errors.ts";
import { dynamicMap, nearestCode } from "./dynamic-map.ts";

/** Weights of four bits: codes into the NF4 map, two a byte with the first element in the high half, and a largest magnitude a block. */
interface Nf4 {
  /** `[⌈n / 2⌉]`; an odd n leaves the last low half 0 */
  codes: Uint8Array;
  /** f32 `[⌈n / 64⌉]`, what values are multiplied by; with double quantisation already as it comes back from its codes */
  absmax: Float32Array;
  /** how absmax is stored where it is quantised itself, else null */
  nested: NestedAbsmax | null;
}

/** bitsandbytes' double quantisation: `absmax ≈ map[codes]·absmax₂ + offset`, absmax₂ for 256 of them. */
interface NestedAbsmax {
  /** u8 `[⌈n / 64⌉]` */
  codes: Uint8Array;
  /** f32 `[⌈n / 64 / 256⌉]` */
  absmax: Float32Array;
  /** the mean of what was quantised */
  offset: number;
}

export const NF4_BLOCK = 64;
export const NESTED_BLOCK = 256;

/** Values half-way between neighbours: what lies above takes the upper one. */
const MIDPOINTS = Float32Array.from([
  ...NF4.slice(1).map((upper, i) => (upper + NF4[i]) / 2),
  Number.POSITIVE_INFINITY,
]);
const TABLE = Float32Array.from(NF4);
/** Parts of [-1, 1] so short that each holds one midpoint at most, and the lowest code of each. */
const PARTS = 1024;
const LOWEST = Uint8Array.from({ length: PARTS + 1 }, (_, i) =>
  MIDPOINTS.findIndex((middle) => (2 * i) / PARTS - 1 <= middle),
);

/**
 * Quantises as bitsandbytes does: each block of 64 is divided by its largest magnitude, each value takes the nearest of the
 * map's. Pieces of a tensor that are whole blocks may come one after another.
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
      const lowest = LOWEST[((x + 1) * (PARTS / 2)) | 0]; // 1 at most, but for rounding: what is past the end is the last
      const code = x > MIDPOINTS[lowest] ? lowest + 1 : lowest;
      if (i & 1) into[i >> 1] |= code;
      else into[i >> 1] = code << 4;
    }
  }
}

/** Quantises the scales themselves, and gives back what they will be worth. */
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
 * The scales that their codes stand for.
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

/** Quantises a whole tensor. @param double whether the scales are quantised as well */
export function quantizeNf4(values: Float32Array, { double = false }: { double?: boolean } = {}): Nf4 {
  const codes = new Uint8Array(Math.ceil(values.length / 2));
  const absmax = new Float32Array(Math.ceil(values.length / NF4_BLOCK));
  encodeNf4(values, codes, absmax);
  if (!double) return { codes, absmax, nested: null };
  const { nested, absmax: rounded } = nestAbsmax(absmax);
  return { codes, absmax: rounded, nested };
}

/** The values that codes stand for, f32 `[n]`. */
export function dequantizeNf4(codes: Uint8Array, absmax: Float32Array, n: number): Float32Array {
  const values = new Float32Array(n);
  for (let i = 0; i < n; i++)
    values[i] = TABLE[(codes[i >> 1] >> (i & 1 ? 0 : 4)) & 15] * absmax[Math.floor(i / NF4_BLOCK)];
  return values;
}

/** Values of eight bits: `codes · scale`, a scale for 64 values. Not bitsandbytes' LLM.int8, whose scale is a row's. */
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
