// Matrices in textures, which one CPU adapter reads faster than buffers: see AdapterProfile.operands.

/** WGSL type of a matrix in texels of 16 bytes, texel i at (i & 4095, i >> 12). */
export const TEXELS = "texture_storage_2d<rgba32uint, read>";

/** The same for a matrix `[rows, columns]` in strips of 16 texels: texel t of a row at (t & 15, row), layer t >> 4. */
export const STRIPS = "texture_storage_2d_array<rgba32uint, read>";

/** `{name}At4(row, col)`: four f32 of a row; `col` is a multiple of 4. */
export function stripFunctions(name: string): string {
  return `
fn ${name}At4(row: u32, col: u32) -> vec4f {
  return bitcast<vec4f>(textureLoad(${name}, vec2u((col / 4u) & 15u, row), col / 64u));
}`;
}

/**
 * The functions of `loadFunctions` for texels, and `{name}Texel(i)`, the words of texel i. Needs `WIDEN` for bf16.
 *
 * Rows of a matrix begin at multiples of 4 elements, or 8 for bf16.
 */
export function texelFunctions(name: string, stored: "f32" | "bf16"): string {
  const texel = `
fn ${name}Texel(i: u32) -> vec4u { return textureLoad(${name}, vec2u(i & 4095u, i >> 12u)); }`;
  return stored === "f32"
    ? `${texel}
fn ${name}At4(i: u32) -> vec4f { return bitcast<vec4f>(${name}Texel(i / 4u)); }
fn ${name}At1(i: u32) -> f32 { return bitcast<f32>(${name}Texel(i / 4u)[i & 3u]); }`
    : `${texel}
fn ${name}At4(i: u32) -> vec4f {
  let w = ${name}Texel(i / 8u);
  return widen(select(w.xy, w.zw, (i & 4u) != 0u));
}
fn ${name}At1(i: u32) -> f32 {
  let w = ${name}Texel(i / 8u)[(i / 2u) & 3u];
  return bitcast<f32>(select(w << 16u, w & 0xffff0000u, (i & 1u) == 1u));
}`;
}
