/**
 * WGSL of 1 / (1 + e⁻ᵍ) of a variable `g`. Below −80 it is 0 in f32; exp of larger values would overflow, which WGSL
 * leaves undefined.
 */
export const sigmoid = (type: "f32" | "vec4f") => `1.0 / (1.0 + exp(-max(g, ${type}(-80.0))))`;
