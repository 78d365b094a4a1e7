import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { rowSum, type Subgroups, subgroupBegins, subgroupSize } from "../lib/reduce.ts";

/** Compile-time parameters of a variant. */
interface GradNormPartialVariant {
  /** four elements at once; the length of the array is then a multiple of four */
  vector: boolean;
  subgroups: Subgroups;
  workgroup: number;
}

// Finiteness is tested on the bits: WGSL lets a compiler assume that infinities and NaN never occur.
const INFINITE = "0x7f800000u";

// grad_norm_partial: partial[slot + g] = sum of x^2 over the elements of workgroup g, NaN bits if one is not finite
//
// Grid     `groups` workgroups, each striding over the whole array: the order of the sum depends only on the length
// Shapes   x [n]   partial [one per workgroup of every array], bits of f32
// Writes   partial by assignment
export const gradNormPartial = ({ vector, subgroups, workgroup }: GradNormPartialVariant) => {
  const type = vector ? "vec4f" : "f32";
  return wgsl`
#if ${subgroups}
enable subgroups;
diagnostic(off, subgroup_uniformity);
#endif

struct Params { count: u32, groups: u32, slot: u32 }

@group(0) @binding(0) var<storage, read> x: array<${type}>;
@group(0) @binding(1) var<storage, read_write> partials: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;
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
  let which = group.y * grid.x + group.x;
  if (which >= params.groups) { return; }
  var squares = ${type}(0.0);
  var strange = ${vector ? "vec4<bool>" : "bool"}(false);
  for (var i = which * ${workgroup}u + thread; i < params.count; i += params.groups * ${workgroup}u) {
    let v = x[i];
    squares += v * v;
    strange = strange | ((bitcast<${vector ? "vec4u" : "u32"}>(v) & ${vector ? `vec4u(${INFINITE})` : INFINITE}) == ${vector ? `vec4u(${INFINITE})` : INFINITE});
  }
  let found = ${vector ? "any(strange)" : "strange"};
  let bad = rowSum(select(0.0, 1.0, found), thread${subgroups ? ", lane, lanes" : ""});
  let sum = rowSum(select(${vector ? "dot(squares, vec4f(1.0))" : "squares"}, 0.0, found), thread${subgroups ? ", lane, lanes" : ""});
  if (thread == 0u) { partials[params.slot + which] = select(bitcast<u32>(sum), 0x7fc00000u, bad > 0.0); }
}
`;
};

/** Compile-time parameters of a variant. */
interface GradNormFinishVariant {
  subgroups: Subgroups;
  workgroup: number;
}

// grad_norm_finish: norm = [sqrt(sum of partials), min(1, maxNorm / (norm + 1e-6))]; not finite: [NaN or inf, 0]
//
// Grid     one workgroup
// Shapes   partials [count] and norm [2], bits of f32
// Writes   norm by assignment
// Source   torch.nn.utils.clip_grad_norm_
export const gradNormFinish = ({ subgroups, workgroup }: GradNormFinishVariant) => wgsl`
#if ${subgroups}
enable subgroups;
diagnostic(off, subgroup_uniformity);
#endif

struct Params { count: u32, maxNorm: f32 }

@group(0) @binding(0) var<storage, read> partials: array<u32>;
@group(0) @binding(1) var<storage, read_write> norm: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;
${rowSum(subgroups, workgroup)}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(local_invocation_index) thread: u32,
#if ${subgroups}
  @builtin(subgroup_invocation_id) lane: u32,
  ${subgroupSize(subgroups)}
#endif
) {
  ${subgroupBegins(subgroups)}
  var sum = 0.0;
  var nan = 0.0;
  var infinite = 0.0;
  for (var i = thread; i < params.count; i += ${workgroup}u) {
    let bits = partials[i];
    if ((bits & ${INFINITE}) != ${INFINITE}) { sum += bitcast<f32>(bits); }
    else if ((bits & 0x7fffffu) == 0u) { infinite = 1.0; }
    else { nan = 1.0; }
  }
  let total = rowSum(sum, thread${subgroups ? ", lane, lanes" : ""});
  let nans = rowSum(nan, thread${subgroups ? ", lane, lanes" : ""});
  let infinities = rowSum(infinite, thread${subgroups ? ", lane, lanes" : ""});
  if (thread != 0u) { return; }
  let root = sqrt(total);
  if (nans > 0.0) {
    norm[0] = 0x7fc00000u;
    norm[1] = 0u;
  } else if (infinities > 0.0 || (bitcast<u32>(total) & ${INFINITE}) == ${INFINITE}) {
    norm[0] = ${INFINITE};
    norm[1] = 0u;
  } else {
    norm[0] = bitcast<u32>(root);
    var scale = 1.0;
    if (params.maxNorm > 0.0) { scale = min(1.0, params.maxNorm / (root + 1e-6)); }
    norm[1] = bitcast<u32>(scale);
  }
}
`;
