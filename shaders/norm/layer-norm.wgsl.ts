import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { loadFunctions, type Stored, storedType } from "../lib/load.ts";
import { rowSum, type Subgroups, subgroupBegins, subgroupSize } from "../lib/reduce.ts";

/** Compile-time parameters of a variant. */
interface LayerNormVariant {
  /** how scale and bias are stored; activations are f32 */
  weight: Stored;
  bias: Stored;
  /** norm `sum = x + delta`, which is written too */
  residual: boolean;
  subgroups: Subgroups;
  /** threads per row, a power of two */
  workgroup: number;
}

const inputs = (subgroups: Subgroups) => `
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
  ${subgroups ? `@builtin(subgroup_invocation_id) lane: u32,\n  ${subgroupSize(subgroups)}` : ""}`;

const enables = (f16: boolean, subgroups: Subgroups) =>
  `${f16 ? "enable f16;\n" : ""}${subgroups ? "enable subgroups;\ndiagnostic(off, subgroup_uniformity);\n" : ""}`;

// layer_norm: y = (x - mean) * rstd * weight + bias, rstd = 1 / sqrt(mean((x - mean)^2) + eps), row by row; with `residual`, of
// sum = x + delta
//
// Grid     one workgroup per row; rows beyond 65 535 continue along y
// Shapes   x, delta, sum, y [rows, cols]   weight, bias [cols]   stats [rows, 2]: mean, rstd   row-major, packed
// Writes   y, stats and sum by assignment
// Hazard   all buffers are distinct
// Numbers  the variance is of differences from the mean, in a second pass: a large mean loses no digits
// Source   Ba et al. 2016, arXiv:1607.06450
export const layerNorm = ({ weight, bias, residual, subgroups, workgroup }: LayerNormVariant) => wgsl`
${enables(weight === "f16" || bias === "f16", subgroups)}
struct Params { rows: u32, cols: u32, eps: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
#if ${residual}
@group(0) @binding(6) var<storage, read> delta: array<f32>;
@group(0) @binding(7) var<storage, read_write> sum: array<f32>;
#endif
@group(0) @binding(1) var<storage, read> weight: array<${storedType(weight, false)}>;
@group(0) @binding(2) var<storage, read> bias: array<${storedType(bias, false)}>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec2f>;
@group(0) @binding(5) var<uniform> params: Params;
${loadFunctions("weight", weight, false)}
${loadFunctions("bias", bias, false)}
${rowSum(subgroups, workgroup)}

@compute @workgroup_size(${workgroup})
fn main(${inputs(subgroups)}) {
  ${subgroupBegins(subgroups)}
  let row = group.y * grid.x + group.x;
  if (row >= params.rows) { return; }
  let start = row * params.cols;
  var total = 0.0;
  for (var c = thread; c < params.cols; c += ${workgroup}u) {
#if ${residual}
    let v = x[start + c] + delta[start + c];
    sum[start + c] = v;
#else
    let v = x[start + c];
#endif
    total += v;
  }
  let mean = rowSum(total, thread${subgroups ? ", lane, lanes" : ""}) / f32(params.cols);
  var squares = 0.0;
  for (var c = thread; c < params.cols; c += ${workgroup}u) {
    let d = ${residual ? "sum" : "x"}[start + c] - mean;
    squares += d * d;
  }
  let rstd = inverseSqrt(rowSum(squares, thread${subgroups ? ", lane, lanes" : ""}) / f32(params.cols) + params.eps);
  if (thread == 0u) { stats[row] = vec2f(mean, rstd); }
  for (var c = thread; c < params.cols; c += ${workgroup}u) {
    let d = ${residual ? "sum" : "x"}[start + c] - mean;
    y[start + c] = d * rstd * weightAt1(c) + biasAt1(c);
  }
}
`;

/** Compile-time parameters of a variant. */
interface LayerNormBackwardVariant {
  weight: Stored;
  /** dx is added to what it holds, instead of overwriting it */
  accumulate: boolean;
  subgroups: Subgroups;
  workgroup: number;
}

// layer_norm_backward: dx [+]= rstd * (g - mean(g) - n * mean(g * n)), g = dy * weight, n = (x - mean) * rstd
//
// Grid     one workgroup per row; rows beyond 65 535 continue along y
// Shapes   x, dy, dx [rows, cols]   weight [cols]   stats [rows, 2]
// Writes   dx by assignment, or with `accumulate` by +=, because it already holds the residual's gradient
// Hazard   dx is distinct from x and dy
export const layerNormBackward = ({ weight, accumulate, subgroups, workgroup }: LayerNormBackwardVariant) => wgsl`
${enables(weight === "f16", subgroups)}
struct Params { rows: u32, cols: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<${storedType(weight, false)}>;
@group(0) @binding(2) var<storage, read> stats: array<vec2f>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;
${loadFunctions("weight", weight, false)}
${rowSum(subgroups, workgroup)}

@compute @workgroup_size(${workgroup})
fn main(${inputs(subgroups)}) {
  ${subgroupBegins(subgroups)}
  let row = group.y * grid.x + group.x;
  if (row >= params.rows) { return; }
  let start = row * params.cols;
  let known = stats[row];
  var plain = 0.0;
  var along = 0.0;
  for (var c = thread; c < params.cols; c += ${workgroup}u) {
    let g = dy[start + c] * weightAt1(c);
    plain += g;
    along += g * (x[start + c] - known.x) * known.y;
  }
  let meanPlain = rowSum(plain, thread${subgroups ? ", lane, lanes" : ""}) / f32(params.cols);
  let meanAlong = rowSum(along, thread${subgroups ? ", lane, lanes" : ""}) / f32(params.cols);
  for (var c = thread; c < params.cols; c += ${workgroup}u) {
    let n = (x[start + c] - known.x) * known.y;
    let d = known.y * (dy[start + c] * weightAt1(c) - meanPlain - n * meanAlong);
    dx[start + c] = ${accumulate ? "dx[start + c] + d" : "d"};
  }
}
`;

// layer_norm_weight_backward: dweight += sum over rows of dy * (x - mean) * rstd
//
// Grid     one thread per column, which sums all rows: deterministic, no atomics
// Shapes   x, dy [rows, cols]   stats [rows, 2]   dweight [cols]
// Writes   dweight by +=
export const layerNormWeightBackward = ({ workgroup }: { workgroup: number }) => wgsl`
struct Params { rows: u32, cols: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> stats: array<vec2f>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dweight: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(@builtin(global_invocation_id) id: vec3u) {
  let c = id.x;
  if (c >= params.cols) { return; }
  var sum = 0.0;
  for (var row = 0u; row < params.rows; row++) {
    let at = row * params.cols + c;
    sum += dy[at] * (x[at] - stats[row].x) * stats[row].y;
  }
  dweight[c] += sum;
}
`;
