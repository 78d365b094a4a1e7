/** Conversion of stored numbers to f32, for every kernel that reads weights. bf16: two per u32, low half first. */
export type Stored = "f32" | "f16" | "bf16";

/** Matrices may also be codes, followed in the same buffer by one f32 scale per 64 codes. */
export type StoredMatrix = Stored | "int8" | "nf4";

/** The values of NF4's codes. @see Dettmers et al. 2023, arXiv:2305.14314, appendix E */
export const NF4: readonly number[] = [
  -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
];

/** WGSL type of the array that holds `count` elements of `stored` per entry; `count` is 1 or 4 (bf16: 2 or 4). */
export function storedType(stored: StoredMatrix, vector: boolean): string {
  if (stored === "int8" || stored === "nf4") return "u32";
  if (stored === "bf16") return vector ? "vec2u" : "u32";
  const scalar = stored === "f16" ? "f16" : "f32";
  return vector ? `vec4<${scalar}>` : scalar;
}

/**
 * WGSL functions that read `name` as f32, exactly.
 *
 * `{name}At1(i)` returns element i. `{name}At4(i)` returns elements i … i+3; with `vector`, i must be a multiple of 4;
 * without, it reads them one by one.
 *
 * @param scales WGSL of the index of the first scale word, for quantised elements
 */
export function loadFunctions(name: string, stored: StoredMatrix, vector: boolean, scales = ""): string {
  if (stored === "int8" || stored === "nf4") return quantized(name, stored, vector, scales);
  const at = `${name}[i / 4u]`;
  if (stored === "bf16") {
    const widen = (word: string) =>
      `vec4f(bitcast<f32>(${word}.x << 16u), bitcast<f32>(${word}.x & 0xffff0000u), bitcast<f32>(${word}.y << 16u), bitcast<f32>(${word}.y & 0xffff0000u))`;
    return vector
      ? `
fn ${name}At4(i: u32) -> vec4f { let w = ${at}; return ${widen("w")}; }
fn ${name}At1(i: u32) -> f32 {
  let w = ${at}[(i / 2u) & 1u];
  return bitcast<f32>(select(w << 16u, w & 0xffff0000u, (i & 1u) == 1u));
}`
      : `
fn ${name}At1(i: u32) -> f32 {
  let w = ${name}[i / 2u];
  return bitcast<f32>(select(w << 16u, w & 0xffff0000u, (i & 1u) == 1u));
}
fn ${name}At4(i: u32) -> vec4f { return vec4f(${name}At1(i), ${name}At1(i + 1u), ${name}At1(i + 2u), ${name}At1(i + 3u)); }`;
  }
  return vector
    ? `
fn ${name}At4(i: u32) -> vec4f { return vec4f(${at}); }
fn ${name}At1(i: u32) -> f32 { return f32(${at}[i & 3u]); }`
    : `
fn ${name}At1(i: u32) -> f32 { return f32(${name}[i]); }
fn ${name}At4(i: u32) -> vec4f { return vec4f(${name}At1(i), ${name}At1(i + 1u), ${name}At1(i + 2u), ${name}At1(i + 3u)); }`;
}

/** Four bf16, the first in the low half of the first word. */
export const WIDEN = `
fn widen(w: vec2u) -> vec4f {
  return vec4f(bitcast<f32>(w.x << 16u), bitcast<f32>(w.x & 0xffff0000u), bitcast<f32>(w.y << 16u), bitcast<f32>(w.y & 0xffff0000u));
}`;

/** `narrow(x, y)`: two f32 rounded to bf16, to nearest with ties to even, in one word, x in its low half. NaN stays NaN. */
export const NARROW = `
fn bf16Of(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let rounded = (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
  return select(rounded, 0x7fc0u, (bits & 0x7fffffffu) > 0x7f800000u);
}
fn narrow(x: f32, y: f32) -> u32 { return bf16Of(x) | (bf16Of(y) << 16u); }
fn narrow4(x: vec4f) -> vec2u { return vec2u(narrow(x.x, x.y), narrow(x.z, x.w)); }`;

/**
 * Codes times their block's scale: one rounding, as in bitsandbytes. int8 is two's complement; nf4 has its first
 * element in the high half of a byte.
 */
function quantized(name: string, stored: "int8" | "nf4", vector: boolean, scales: string): string {
  const scale = `
fn ${name}Scale(i: u32) -> f32 { return bitcast<f32>(${name}[${scales} + i / 64u]); }`;
  const one =
    stored === "int8"
      ? `
fn ${name}At1(i: u32) -> f32 { return f32(extractBits(bitcast<i32>(${name}[i / 4u]), (i & 3u) * 8u, 8u)) * ${name}Scale(i); }`
      : `
var<private> nf4: array<f32, 16> = array<f32, 16>(${NF4.map((value) => `${value}f`).join(", ")});
fn ${name}At1(i: u32) -> f32 { return nf4[extractBits(${name}[i / 8u], ((i & 7u) ^ 1u) * 4u, 4u)] * ${name}Scale(i); }`;
  if (!vector) {
    return `${scale}${one}
fn ${name}At4(i: u32) -> vec4f { return vec4f(${name}At1(i), ${name}At1(i + 1u), ${name}At1(i + 2u), ${name}At1(i + 3u)); }`;
  }
  return stored === "int8"
    ? `${scale}${one}
fn ${name}At4(i: u32) -> vec4f {
  let w = bitcast<i32>(${name}[i / 4u]);
  return vec4f((vec4i(w) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u)) * ${name}Scale(i);
}`
    : `${scale}${one}
fn ${name}At4(i: u32) -> vec4f {
  let w = ${name}[i / 8u] >> ((i & 4u) * 4u);
  return vec4f(nf4[(w >> 4u) & 15u], nf4[w & 15u], nf4[(w >> 12u) & 15u], nf4[(w >> 8u) & 15u]) * ${name}Scale(i);
}`;
}
