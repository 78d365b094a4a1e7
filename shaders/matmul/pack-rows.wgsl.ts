import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { loadFunctions, storedType } from "../lib/load.ts";
import { SUBGROUP_NUMBER, type Subgroups, subgroupBegins, subgroupSize } from "../lib/reduce.ts";

/** Compile-time parameters of a variant. */
interface PackRowsVariant {
  /** how a is stored */
  a: "f32" | "bf16";
  /** low-rank rows a2 follow those of a */
  low: boolean;
  /** each `rank` columns of a2 take `place` columns, the last of them zeros */
  spread: boolean;
  /** elements of a are first multiplied by their column's factor */
  factors: boolean;
  /** rows of both begin at multiples of 4 elements, and so do their ends */
  vector: boolean;
  subgroups: Subgroups;
  /** threads per row, a power of two */
  workgroup: number;
}

/** Exponent of the largest power of two in a scaled row: 2^14, a quarter of f16's largest number. */
const TOP = 14;

/** WGSL `scaleBits(peak)`: the bits of the power of two that brings `peak` between 2^14 and 2^15; it and its inverse are normal numbers. */
const SCALE_BITS = `
fn scaleBits(peak: f32) -> i32 {
  let exponent = bitcast<u32>(peak) >> 23u;
  let bits = clamp(${127 + TOP + 127}i - i32(exponent), 1i, 253i);
  return select(bits, 127i, exponent == 255u || peak == 0.0);
}`;

// pack_rows: packed = f16(scale * [a | a2 | 0 …]) row by row; scale is the power of two that brings a row's largest value
// between 2^14 and 2^15; scales = 1 / scale
//
// Grid     one workgroup per row; rows beyond 65 535 continue along y
// Shapes   a [filled, lda] f32 or bf16 from element aAt, its first k columns; rows from `filled` on are 0   a2 [rows, width]
//          factors [k]   packed [rows, ld] f16, ld ≥ k + width (spread: k + width / rank * place), a multiple of 4
//          scales [rows]   row-major
// Writes   packed and scales by assignment
// Hazard   all buffers are distinct
// Numbers  one rounding to f16: relative to a row's largest value 2^-11 of each value down to 2^-28. Nothing finite
//          becomes infinite. A row with an infinite value or NaN has the scale 1 and keeps it; scales of zeros are 0.
export const packRows = ({ a, low, spread, factors, vector, subgroups, workgroup }: PackRowsVariant) => {
  const [fours, one] = factors
    ? [" * vec4f(factors[col], factors[col + 1u], factors[col + 2u], factors[col + 3u])", " * factors[col + e]"]
    : ["", ""];
  return wgsl`
enable f16;
#if ${subgroups}
enable subgroups;
diagnostic(off, subgroup_uniformity);
#endif

struct Params { rows: u32, filled: u32, k: u32, lda: u32, aAt: u32, width: u32, rank: u32, place: u32, ld: u32 }

@group(0) @binding(0) var<storage, read> a: array<${storedType(a, vector)}>;
#if ${low}
@group(0) @binding(1) var<storage, read> a2: array<${vector ? "vec4f" : "f32"}>;
#endif
@group(0) @binding(2) var<storage, read_write> packed: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read_write> scales: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;
#if ${factors}
@group(0) @binding(5) var<storage, read> factors: array<f32>;
#endif
${SCALE_BITS}
${subgroups ? SUBGROUP_NUMBER : ""}
${loadFunctions("a", a, vector)}
var<workgroup> partial: array<f32, ${workgroup}>;

#if ${low}
/** Column of a2 that lies in column \`col\` behind a; beyond a2's width where zeros lie. */
fn lowColumn(col: u32) -> u32 {
#if ${spread}
  return select(params.width, col / params.place * params.rank + col % params.place, col % params.place < params.rank);
#else
  return col;
#endif
}
#endif

fn four(row: u32, col: u32) -> vec4f {
  if (row >= params.filled) { return vec4f(); }
  if (col + 4u <= params.k) {
    let at = params.aAt + row * params.lda + col;
    return aAt4(at)${fours};
  }
  var value = vec4f();
#if ${low}
  ${
    vector
      ? "if (col >= params.k) { let c = lowColumn(col - params.k); if (c + 4u <= params.width) { value = a2[(row * params.width + c) / 4u]; } }"
      : "for (var e = 0u; e < 4u; e++) { if (col + e >= params.k) { let c = lowColumn(col + e - params.k); if (c < params.width) { value[e] = a2[row * params.width + c]; } } }"
  }
#endif
  ${vector ? "" : `for (var e = 0u; e < 4u; e++) { if (col + e < params.k) { value[e] = aAt1(params.aAt + row * params.lda + col + e)${one}; } }`}
  return value;
}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
#if ${subgroups}
  @builtin(subgroup_invocation_id) lane: u32,
  ${subgroupSize(subgroups)}
#endif
) {
  ${subgroupBegins(subgroups)}
  let row = group.y * grid.x + group.x;
  if (row >= params.rows) { return; }
  var most = vec4f();
  for (var col = thread * 4u; col < ${spread ? "params.ld" : "params.k + params.width"}; col += ${workgroup * 4}u) { most = max(most, abs(four(row, col))); }
  var peak = max(max(most.x, most.y), max(most.z, most.w));
#if ${subgroups}
  peak = subgroupMax(peak);
  if (lane == 0u) { partial[subgroupNumber] = peak; }
  workgroupBarrier();
  for (var s = 0u; s * lanes < ${workgroup}u; s++) { peak = max(peak, partial[s]); }
#else
  partial[thread] = peak;
  for (var half = ${workgroup / 2}u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) { partial[thread] = max(partial[thread], partial[thread + half]); }
  }
  workgroupBarrier();
  peak = partial[0];
#endif
  let bits = scaleBits(peak);
  let scale = bitcast<f32>(u32(bits) << 23u);
  // 0 of a row of zeros: as a factor of a step of a sum, it is then no larger than the others'
  if (thread == 0u) { scales[row] = select(bitcast<f32>(u32(254i - bits) << 23u), 0.0, peak == 0.0); }
  for (var col = thread * 4u; col < params.ld; col += ${workgroup * 4}u) {
    packed[(row * params.ld + col) / 4u] = vec4<f16>(scale * four(row, col));
  }
}
`;
};

/** Compile-time parameters of a variant. */
interface PackColumnsVariant {
  /** how a is stored */
  a: "f32" | "bf16";
}

/** Columns of a workgroup, and its threads down each, of four rows at a time. */
const [COLUMNS, DOWN] = [16, 16];

/** Columns that a workgroup of pack_columns takes. */
export const PACKED_COLUMNS = COLUMNS;

// pack_columns: packed = f16(scale * (a * factors)ᵀ | 0 …) column by column of a; scale and scales as in pack_rows
//
// Grid     one workgroup per 16 columns
// Shapes   a [k, lda] f32 or bf16 from element aAt, its first m columns   factors [k]   packed [m, ld] f16, ld ≥ k, a multiple of 4
//          scales [m]   row-major
// Writes   packed and scales by assignment
// Hazard   all buffers are distinct
// Numbers  as in pack_rows
export const packColumns = ({ a }: PackColumnsVariant) => wgsl`
enable f16;

struct Params { m: u32, k: u32, lda: u32, aAt: u32, ld: u32 }

@group(0) @binding(0) var<storage, read> a: array<${storedType(a, false)}>;
@group(0) @binding(1) var<storage, read> factors: array<f32>;
@group(0) @binding(2) var<storage, read_write> packed: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read_write> scales: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;
${loadFunctions("a", a, false)}
${SCALE_BITS}
var<workgroup> peaks: array<f32, ${COLUMNS * DOWN}>;

fn four(row: u32, col: u32) -> vec4f {
  var value = vec4f();
  for (var e = 0u; e < 4u; e++) {
    if (row + e < params.k) { value[e] = aAt1(params.aAt + (row + e) * params.lda + col) * factors[row + e]; }
  }
  return value;
}

@compute @workgroup_size(${COLUMNS * DOWN})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let col = group.x * ${COLUMNS}u + thread % ${COLUMNS}u;
  let inside = min(col, params.m - 1u); // past the edge, a thread repeats the last column and stores nothing
  let first = thread / ${COLUMNS}u * 4u;
  var most = vec4f();
  for (var row = first; row < params.k; row += ${4 * DOWN}u) { most = max(most, abs(four(row, inside))); }
  peaks[thread] = max(max(most.x, most.y), max(most.z, most.w));
  for (var half = ${(COLUMNS * DOWN) / 2}u; half >= ${COLUMNS}u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) { peaks[thread] = max(peaks[thread], peaks[thread + half]); }
  }
  workgroupBarrier();
  let bits = scaleBits(peaks[thread % ${COLUMNS}u]);
  if (col >= params.m) { return; }
  let scale = bitcast<f32>(u32(bits) << 23u);
  if (first == 0u) { scales[col] = bitcast<f32>(u32(254i - bits) << 23u); }
  for (var row = first; row < params.ld; row += ${4 * DOWN}u) {
    packed[(col * params.ld + row) / 4u] = vec4<f16>(scale * four(row, col));
  }
}
`;
