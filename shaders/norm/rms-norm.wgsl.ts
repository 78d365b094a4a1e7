import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { loadFunctions, type Stored, storedType } from "../lib/load.ts";
import { rowSum, type Subgroups, subgroupBegins, subgroupSize } from "../lib/reduce.ts";

/** Compile-time parameters of a variant. */
interface RmsNormVariant {
  /** how the frozen scale is stored; activations are f32 */
  weight: Stored;
  /** scale by 1 + weight */
  zeroCentered: boolean;
  /** norm `sum = x + delta`, which is written too */
  residual: boolean;
  /** rows are heads: some of the heads of a wider row */
  heads: boolean;
  /** cols is a multiple of 4 */
  vector: boolean;
  subgroups: Subgroups;
  /** threads per row, a power of two */
  workgroup: number;
}

/** Where a row of x begins: heads are `take` of the `per` that a wider row holds, every `apart`-th from `first` on. */
const startOf = (row: string, heads: boolean) =>
  heads
    ? `(${row} / params.take * params.per + params.first + ${row} % params.take * params.apart) * params.cols`
    : `${row} * params.cols`;

/** Where the same row of y or dy begins: they may hold other heads beside these. */
const madeAt = (row: string, heads: boolean) =>
  heads ? `(${row} / params.take * params.madePer + params.madeFirst + ${row} % params.take) * params.cols` : "start";

/** Fields of Params that say which heads. */
const HEAD_FIELDS = "take: u32, per: u32, first: u32, apart: u32, madePer: u32, madeFirst: u32";

/** The type of an array of rows. */
const rowsOf = (vector: boolean) => `array<${vector ? "vec4f" : "f32"}>`;

/** The scale of column c, or of columns 4c to 4c + 3. */
const scaleOf = (zeroCentered: boolean, vector: boolean) => {
  const weight = vector ? "weightAt4(4u * c)" : "weightAt1(c)";
  return zeroCentered ? `(1.0 + ${weight})` : weight;
};

// rms_norm: y = x * rstd * weight; rstd = 1 / sqrt(mean(x^2) + eps), row by row; with `residual`, of sum = x + delta; with
// `zeroCentered`, weight stands for 1 + weight here and below
//
// Grid     one workgroup per row; rows beyond 65 535 continue along y
// Shapes   x, delta, sum, y [rows, cols]   weight [cols]   rstd [rows]   row-major, packed
// Writes   y, rstd and sum by assignment
// Hazard   all buffers are distinct
// Source   Zhang and Sennrich 2019, arXiv:1910.07467
export const rmsNorm = ({
  weight,
  zeroCentered,
  residual,
  heads,
  vector,
  subgroups,
  workgroup,
}: RmsNormVariant) => wgsl`
#if ${weight === "f16"}
enable f16;
#endif
#if ${subgroups}
enable subgroups;
diagnostic(off, subgroup_uniformity);
#endif

struct Params { rows: u32, cols: u32, eps: f32, ${HEAD_FIELDS} }

@group(0) @binding(0) var<storage, read> x: ${rowsOf(vector)};
#if ${residual}
@group(0) @binding(5) var<storage, read> delta: ${rowsOf(vector)};
@group(0) @binding(6) var<storage, read_write> sum: ${rowsOf(vector)};
#endif
@group(0) @binding(1) var<storage, read> weight: array<${storedType(weight, vector)}>;
@group(0) @binding(2) var<storage, read_write> y: ${rowsOf(vector)};
@group(0) @binding(3) var<storage, read_write> rstd: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;
${loadFunctions("weight", weight, vector)}
${rowSum(subgroups, workgroup)}

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
  let start = (${startOf("row", heads)}) / ${vector ? 4 : 1}u;
  let made = ${heads ? `(${madeAt("row", heads)}) / ${vector ? 4 : 1}u` : "start"};
  let cols = params.cols / ${vector ? 4 : 1}u;
  var squares = 0.0;
  for (var c = thread; c < cols; c += ${workgroup}u) {
#if ${residual}
    let v = x[start + c] + delta[start + c];
    sum[start + c] = v;
#else
    let v = x[start + c];
#endif
    squares += ${vector ? "dot(v, v)" : "v * v"};
  }
  let total = rowSum(squares, thread${subgroups ? ", lane, lanes" : ""});
  let scale = inverseSqrt(total / f32(params.cols) + params.eps);
  if (thread == 0u) { rstd[row] = scale; }
  for (var c = thread; c < cols; c += ${workgroup}u) {
#if ${residual}
    let v = sum[start + c]; // as this thread wrote it
#else
    let v = x[start + c];
#endif
    y[made + c] = v * scale * ${scaleOf(zeroCentered, vector)};
  }
}
`;

/** Compile-time parameters of a variant. */
interface RmsNormBackwardVariant {
  weight: Stored;
  zeroCentered: boolean;
  /** dx is added to what it holds, overwritten, or is dy itself */
  into: "add" | "write" | "dy";
  /** rows are heads: some of the heads of a wider row */
  heads: boolean;
  /** cols is a multiple of 4 */
  vector: boolean;
  subgroups: Subgroups;
  workgroup: number;
}

// rms_norm_backward: dx [+]= rstd * (dy * weight - x * rstd^2 * mean(dy * weight * x))
//
// Grid     one workgroup per row; rows beyond 65 535 continue along y
// Shapes   x, dy, dx [rows, cols]   weight [cols]   rstd [rows]
// Writes   dx by assignment, or with "add" by +=, because it already holds the residual's gradient; or dy in place
// Hazard   dx is distinct from x and dy
export const rmsNormBackward = ({
  weight,
  zeroCentered,
  into,
  heads,
  vector,
  subgroups,
  workgroup,
}: RmsNormBackwardVariant) => wgsl`
#if ${weight === "f16"}
enable f16;
#endif
#if ${subgroups}
enable subgroups;
diagnostic(off, subgroup_uniformity);
#endif

struct Params { rows: u32, cols: u32, ${HEAD_FIELDS} }

@group(0) @binding(0) var<storage, read> x: ${rowsOf(vector)};
@group(0) @binding(1) var<storage, read> weight: array<${storedType(weight, vector)}>;
@group(0) @binding(2) var<storage, read> rstd: array<f32>;
#if ${into === "dy"}
@group(0) @binding(3) var<storage, read_write> dy: ${rowsOf(vector)};
#else
@group(0) @binding(3) var<storage, read> dy: ${rowsOf(vector)};
@group(0) @binding(4) var<storage, read_write> dx: ${rowsOf(vector)};
#endif
@group(0) @binding(5) var<uniform> params: Params;
${loadFunctions("weight", weight, vector)}
${rowSum(subgroups, workgroup)}

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
  let start = (${startOf("row", heads)}) / ${vector ? 4 : 1}u;
  let made = ${heads ? `(${madeAt("row", heads)}) / ${vector ? 4 : 1}u` : "start"};
  let cols = params.cols / ${vector ? 4 : 1}u;
  var sum = 0.0;
  for (var c = thread; c < cols; c += ${workgroup}u) {
    let d = dy[made + c] * ${scaleOf(zeroCentered, vector)};
    sum += ${vector ? "dot(d, x[start + c])" : "d * x[start + c]"};
  }
  let scale = rstd[row];
  let mean = rowSum(sum, thread${subgroups ? ", lane, lanes" : ""}) * scale * scale / f32(params.cols);
  for (var c = thread; c < cols; c += ${workgroup}u) {
    let d = scale * (dy[made + c] * ${scaleOf(zeroCentered, vector)} - x[start + c] * mean);
    ${into === "dy" ? "dy[made + c] = d" : `dx[start + c] = ${into === "add" ? "dx[start + c] + d" : "d"}`};
  }
}
`;

/** Compile-time parameters of a variant. */
interface RmsNormWeightBackwardVariant {
  /** rows are heads: some of the heads of a wider row */
  heads: boolean;
  /** threads, one per column */
  workgroup: number;
}

// rms_norm_weight_backward: dweight += sum over rows of dy * x * rstd
//
// Grid     one thread per column, which sums all rows: deterministic, no atomics
// Shapes   x, dy [rows, cols]   rstd [rows]   dweight [cols]
// Writes   dweight by +=
export const rmsNormWeightBackward = ({ heads, workgroup }: RmsNormWeightBackwardVariant) => wgsl`
struct Params { rows: u32, cols: u32, ${HEAD_FIELDS} }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> rstd: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dweight: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(@builtin(global_invocation_id) id: vec3u) {
  let c = id.x;
  if (c >= params.cols) { return; }
  var sum = 0.0;
  for (var row = 0u; row < params.rows; row++) {
    let start = ${startOf("row", heads)};
    sum += dy[${madeAt("row", heads)} + c] * x[start + c] * rstd[row];
  }
  dweight[c] += sum;
}
`;
