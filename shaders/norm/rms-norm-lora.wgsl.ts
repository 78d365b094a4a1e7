import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { loadFunctions, type Stored, storedType } from "../lib/load.ts";
import { rowSum, type Subgroups, subgroupBegins, subgroupSize } from "../lib/reduce.ts";

/** Compile-time parameters of a variant. */
interface RmsNormLoraVariant {
  /** how the frozen scale is stored; activations are f32 */
  weight: Stored;
  /** scale by 1 + weight */
  zeroCentered: boolean;
  /** norm `sum = x + delta`, which is written too */
  residual: boolean;
  /** columns per row, a multiple of 4: the row is kept in workgroup memory */
  cols: number;
  /** number of lora_A in `a`, at most 3 */
  pairs: number;
  subgroups: Subgroups;
  /** threads per row, a power of two */
  workgroup: number;
}

// rms_norm_lora: y = x * rstd * weight as rms_norm, and h = alpha * y @ aᵀ for the next layer: for the few rows of a
// decoding pass
//
// Grid     one workgroup per row
// Shapes   x, delta, sum, y [rows, cols]   weight [cols]   a: pairs of [r, cols] from a0, a1, a2 on   h [rows, pairs * r]
// Writes   y, sum and h by assignment
// Hazard   all buffers are distinct
// Numbers  a row's bits do not depend on how many rows there are: they are those of rms_norm and of matmul's tiles
export const rmsNormLora = ({
  weight,
  zeroCentered,
  residual,
  cols,
  pairs,
  subgroups,
  workgroup,
}: RmsNormLoraVariant) => wgsl`
#if ${weight === "f16"}
enable f16;
#endif
#if ${subgroups}
enable subgroups;
diagnostic(off, subgroup_uniformity);
#endif

struct Params { rows: u32, r: u32, eps: f32, alpha: f32, a0: u32, a1: u32, a2: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
#if ${residual}
@group(0) @binding(1) var<storage, read> delta: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> sum: array<vec4f>;
#endif
@group(0) @binding(3) var<storage, read> weight: array<${storedType(weight, true)}>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(5) var<storage, read> a: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> h: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;
${loadFunctions("weight", weight, true)}
${rowSum(subgroups, workgroup)}
var<workgroup> normed: array<vec4f, ${cols / 4}>;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
#if ${subgroups}
  @builtin(subgroup_invocation_id) lane: u32,
  ${subgroupSize(subgroups)}
#endif
) {
  ${subgroupBegins(subgroups)}
  let row = group.x;
  let start = row * ${cols / 4}u;
  var squares = 0.0;
  for (var c = thread; c < ${cols / 4}u; c += ${workgroup}u) {
#if ${residual}
    let v = x[start + c] + delta[start + c];
    sum[start + c] = v;
#else
    let v = x[start + c];
#endif
    normed[c] = v;
    squares += dot(v, v);
  }
  let total = rowSum(squares, thread${subgroups ? ", lane, lanes" : ""});
  let scale = inverseSqrt(total / ${cols}.0 + params.eps);
  for (var c = thread; c < ${cols / 4}u; c += ${workgroup}u) {
    let v = normed[c] * scale * ${zeroCentered ? "(1.0 + weightAt4(4u * c))" : "weightAt4(4u * c)"};
    normed[c] = v;
    y[start + c] = v;
  }
  workgroupBarrier();
  let quads = min(params.rows, 1u) * ${cols / 4}u; // Mesa's renderer unrolls a constant loop, and compiles it for seconds
  for (var i = thread; i < params.r * ${pairs}u; i += ${workgroup}u) {
    let pair = i / params.r;
    let first = select(select(params.a2, params.a1, pair == 1u), params.a0, pair == 0u);
    let at = first / 4u + i % params.r * ${cols / 4}u;
    var low = 0.0;
    for (var c = 0u; c < quads; c++) {
      let v = normed[c];
      let w = a[at + c];
      low += fma(v.w, w.w, fma(v.z, w.z, fma(v.y, w.y, v.x * w.x)));
    }
    h[row * params.r * ${pairs}u + i] = params.alpha * low;
  }
}
`;
