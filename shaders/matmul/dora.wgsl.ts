import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { loadFunctions, type Stored, type StoredMatrix, storedType } from "../lib/load.ts";
import { randomFunctions } from "../lib/random.ts";
import { rowSum, type Subgroups, subgroupBegins, subgroupSize } from "../lib/reduce.ts";

/** Rows of a weight per workgroup: each element of lora_A that is read serves all of them. */
export const GAIN_ROWS = 8;

/** Compile-time parameters of a variant. */
interface DoraGainsVariant {
  /** how the weight is stored */
  weight: StoredMatrix;
  /** four columns per load; in, weightAt and aAt are then multiples of four */
  vector: boolean;
  subgroups: Subgroups;
  workgroup: number;
}

const each = (body: (i: number) => string) => Array.from({ length: GAIN_ROWS }, (_, i) => body(i)).join("\n  ");

// dora_gains: for each row j of a weight, its norm n = ‖W_j + s·(B·A)_j‖ and its gain m_j / n; a gain of 0 where n is 0
//
// Grid     one workgroup for GAIN_ROWS rows of the weight; beyond 65 535 along y
// Shapes   weight [out, in] from weightAt on   a [r, in] from aAt on   b [out, r] from bAt on   m [out] from mAt on
//          gains [2, width], columns column … column + out: gains, then norms
// Writes   gains by assignment
// Source   DoRA, Liu et al. 2024, arXiv:2402.09353, equation 5
export const doraGains = ({ weight, vector, subgroups, workgroup }: DoraGainsVariant) => {
  const type = vector ? "vec4f" : "f32";
  const step = vector ? 4 : 1;
  return wgsl`
#if ${weight === "f16"}
enable f16;
#endif
#if ${subgroups}
enable subgroups;
diagnostic(off, subgroup_uniformity);
#endif

struct Params {
  out: u32, inner: u32, r: u32, width: u32, column: u32,
  weightAt: u32, aAt: u32, bAt: u32, mAt: u32, scales: u32, factor: f32,
}

@group(0) @binding(0) var<storage, read> weight: array<${storedType(weight, vector)}>;
@group(0) @binding(1) var<storage, read> a: array<${type}>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> m: array<f32>;
@group(0) @binding(4) var<storage, read_write> gains: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;
${loadFunctions("weight", weight, vector, "params.scales")}
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
  let first = (group.y * grid.x + group.x) * ${GAIN_ROWS}u;
  if (first >= params.out) { return; }
  ${each((i) => `let row${i} = min(first + ${i}u, params.out - 1u); var squares${i} = 0.0;`)}
  for (var c = thread * ${step}u; c < params.inner; c += ${workgroup * step}u) {
    ${each((i) => `var v${i} = ${type}(0.0);`)}
    for (var k = 0u; k < params.r; k++) {
      let low = a[(params.aAt + k * params.inner + c)${vector ? " / 4u" : ""}];
      ${each((i) => `v${i} += b[params.bAt + row${i} * params.r + k] * low;`)}
    }
    ${each((i) => `v${i} = weightAt${step}(params.weightAt + row${i} * params.inner + c) + params.factor * v${i};`)}
    ${each((i) => `squares${i} += ${vector ? `dot(v${i}, v${i})` : `v${i} * v${i}`};`)}
  }
  ${each((i) => `let sum${i} = rowSum(squares${i}, thread${subgroups ? ", lane, lanes" : ""});`)}
  if (thread >= ${GAIN_ROWS}u || first + thread >= params.out) { return; }
  var sum = sum0;
  ${each((i) => `if (thread == ${i}u) { sum = sum${i}; }`)}
  let norm = sqrt(sum);
  let column = params.column + first + thread;
  gains[column] = select(0.0, m[params.mAt + first + thread] / norm, norm > 0.0);
  gains[params.width + column] = norm;
}
`;
};

/** Compile-time parameters of a variant. */
interface DoraScaleVariant {
  /**
   * - scale: y = gain·y + bias, in place
   * - copy: y = (gain − less)·x
   * - add: y += (gain − less)·x
   */
  form: "scale" | "copy" | "add";
  bias: Stored | "none";
  workgroup: number;
}

// dora_scale: columns times their gains
//
// Grid     threads along x for the columns, rows along y and, beyond 65 535, z
// Shapes   y [rows, yStride], of which cols from yFirst on   x [rows, xStride], of which cols from xFirst on
//          gains from gainAt on   bias from biasAt on
// Writes   y by assignment, or by += with `add`
// Hazard   x and y are distinct
export const doraScale = ({ form, bias, workgroup }: DoraScaleVariant) => wgsl`
#if ${bias === "f16"}
enable f16;
#endif
struct Params {
  rows: u32, cols: u32, yStride: u32, yFirst: u32, xStride: u32, xFirst: u32, gainAt: u32, biasAt: u32, less: f32,
}

@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> gains: array<f32>;
#if ${form !== "scale"}
@group(0) @binding(2) var<storage, read> x: array<f32>;
#endif
#if ${bias !== "none"}
@group(0) @binding(3) var<storage, read> bias: array<${bias === "none" ? "f32" : storedType(bias, false)}>;
#endif
@group(0) @binding(4) var<uniform> params: Params;
${bias === "none" ? "" : loadFunctions("bias", bias, false)}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.z * grid.y + group.y;
  let c = group.x * ${workgroup}u + thread;
  if (row >= params.rows || c >= params.cols) { return; }
  let at = row * params.yStride + params.yFirst + c;
  let gain = gains[params.gainAt + c] - params.less;
#if ${form === "scale"}
  y[at] = gain * y[at]${bias === "none" ? "" : " + biasAt1(params.biasAt + c)"};
#elif ${form === "copy"}
  y[at] = gain * x[row * params.xStride + params.xFirst + c];
#else
  y[at] += gain * x[row * params.xStride + params.xFirst + c];
#endif
}
`;

/** Compile-time parameters of a variant. */
interface MaskedAddVariant {
  workgroup: number;
}

// masked_add: y += mask·x, with the dropout mask of this seed from its element `first` on
//
// Grid     one thread per element
// Shapes   x, y [count]
// Writes   y by +=
export const maskedAdd = ({ workgroup }: MaskedAddVariant) => wgsl`
struct Params { count: u32, first: u32, seed: u32, dropout: f32 }

@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;
${randomFunctions}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
  if (uniform01(params.seed, params.first + i) >= params.dropout) { y[i] += x[i] / (1.0 - params.dropout); }
}
`;

/** Columns per workgroup of the magnitude's gradient, and the threads that share a column's rows. */
export const MAGNITUDE_TILE = 16;

// magnitude_backward: dm += sum over rows of dy·u / norm, column by column; nothing where the norm is 0
//
// Grid     one workgroup of 16 × 16 threads for 16 columns; thread (c, s) sums rows s, s + 16, …: deterministic
// Shapes   dy [rows, dyStride], of which cols from dyFirst on   u [rows, uStride], of which cols from uFirst on
//          norms from normAt on   dm from mAt on
// Writes   dm by +=
export const magnitudeBackward = () => wgsl`
struct Params {
  rows: u32, cols: u32, dyStride: u32, dyFirst: u32, uStride: u32, uFirst: u32, normAt: u32, mAt: u32,
}

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> u: array<f32>;
@group(0) @binding(2) var<storage, read> norms: array<f32>;
@group(0) @binding(3) var<storage, read_write> dm: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;
var<workgroup> sums: array<f32, ${MAGNITUDE_TILE * MAGNITUDE_TILE}>;

@compute @workgroup_size(${MAGNITUDE_TILE * MAGNITUDE_TILE})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let c = (group.y * grid.x + group.x) * ${MAGNITUDE_TILE}u + thread % ${MAGNITUDE_TILE}u;
  var sum = 0.0;
  if (c < params.cols) {
    for (var row = thread / ${MAGNITUDE_TILE}u; row < params.rows; row += ${MAGNITUDE_TILE}u) {
      sum += dy[row * params.dyStride + params.dyFirst + c] * u[row * params.uStride + params.uFirst + c];
    }
  }
  sums[thread] = sum;
  workgroupBarrier();
  if (thread >= ${MAGNITUDE_TILE}u || c >= params.cols) { return; }
  for (var s = 1u; s < ${MAGNITUDE_TILE}u; s++) { sum += sums[s * ${MAGNITUDE_TILE}u + thread]; }
  let norm = norms[params.normAt + c];
  if (norm > 0.0) { dm[params.mAt + c] += sum / norm; }
}
`;
