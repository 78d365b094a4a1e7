/** How stored numbers become f32: shared by every kernel that reads weights. bf16 lies two to a u32, low half first. */
export type Stored = "f32" | "f16" | "bf16";

/** WGSL type of the array that holds `count` elements of `stored` per entry; `count` is 1 or 4 (bf16: 2 or 4). */
export function storedType(stored: Stored, vector: boolean): string {
  if (stored === "bf16") return vector ? "vec2u" : "u32";
  const scalar = stored === "f16" ? "f16" : "f32";
  return vector ? `vec4<${scalar}>` : scalar;
}

/**
 * WGSL functions that read `name` as f32, exactly.
 *
 * `{name}At1(i)` gives element i. With `vector`, `{name}At4(i)` gives elements i … i+3 and i must be a multiple of 4;
 * without, it reads them one by one.
 */
export function loadFunctions(name: string, stored: Stored, vector: boolean): string {
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
