import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { NARROW, WIDEN } from "./lib/load.ts";
import { rowSum, type Subgroups, subgroupBegins, subgroupSize } from "./lib/reduce.ts";

/** Compile-time parameters of a variant. */
interface ElementVariant {
  /** four elements per thread; the length of arrays, or of their rows, is then a multiple of four */
  vector: boolean;
  workgroup: number;
}

const typeOf = (vector: boolean) => (vector ? "vec4f" : "f32");

// add: x += y
//
// Grid     one thread for each element or vec4
// Shapes   x, y [n]
// Writes   x in place
export const add = ({ vector, workgroup }: ElementVariant) => wgsl`
struct Params { count: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<${typeOf(vector)}>;
@group(0) @binding(1) var<storage, read> y: array<${typeOf(vector)}>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
  x[i] += y[i];
}
`;

// scale: x *= factor
//
// Grid     one thread for each element or vec4
// Shapes   x [n]
// Writes   x in place
export const scale = ({ vector, workgroup }: ElementVariant) => wgsl`
struct Params { count: u32, factor: f32 }

@group(0) @binding(0) var<storage, read_write> x: array<${typeOf(vector)}>;
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
  x[i] *= params.factor;
}
`;

// round_bf16: packed = bf16(x), two to a word
//
// Grid     one thread for each word, or each two words
// Shapes   x [n]   packed [n / 2 words, rounded up]: the last half of an odd array is 0
// Writes   packed by assignment
// Numbers  to nearest, ties to even; NaN stays NaN
export const roundBf16 = ({ vector, workgroup }: ElementVariant) => wgsl`
struct Params { count: u32, length: u32 }

@group(0) @binding(0) var<storage, read> x: array<${typeOf(vector)}>;
@group(0) @binding(1) var<storage, read_write> packed: array<${vector ? "vec2u" : "u32"}>;
@group(0) @binding(2) var<uniform> params: Params;
${NARROW}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
#if ${vector}
  packed[i] = narrow4(x[i]);
#else
  var second = 0.0;
  if (2u * i + 1u < params.length) { second = x[2u * i + 1u]; }
  packed[i] = narrow(x[2u * i], second);
#endif
}
`;

// widen_bf16: x = packed, exactly
//
// Grid     one thread for each element or vec4
// Shapes   packed [n], two to a word   x [n]
// Writes   x by assignment
export const widenBf16 = ({ vector, workgroup }: ElementVariant) => wgsl`
struct Params { count: u32 }

@group(0) @binding(0) var<storage, read> packed: array<${vector ? "vec2u" : "u32"}>;
@group(0) @binding(1) var<storage, read_write> x: array<${typeOf(vector)}>;
@group(0) @binding(2) var<uniform> params: Params;
${WIDEN}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
#if ${vector}
  x[i] = widen(packed[i]);
#else
  let w = packed[i / 2u];
  x[i] = bitcast<f32>(select(w << 16u, w & 0xffff0000u, (i & 1u) == 1u));
#endif
}
`;

/** Compile-time parameters of a variant. */
interface ReduceSumVariant {
  subgroups: Subgroups;
  workgroup: number;
}

// reduce_sum: sums[slot + g] = sum of the elements of workgroup g
//
// Grid     `groups` workgroups, each striding over the whole array: the order of the sum depends only on the length
// Shapes   x [count]   sums [slot + groups, at least]
// Writes   sums by assignment
export const reduceSum = ({ subgroups, workgroup }: ReduceSumVariant) => wgsl`
#if ${subgroups}
enable subgroups;
diagnostic(off, subgroup_uniformity);
#endif

struct Params { count: u32, groups: u32, slot: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;
${rowSum(subgroups, workgroup)}

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
  var sum = 0.0;
  for (var i = group.x * ${workgroup}u + thread; i < params.count; i += params.groups * ${workgroup}u) { sum += x[i]; }
  let total = rowSum(sum, thread${subgroups ? ", lane, lanes" : ""});
  if (thread == 0u) { sums[params.slot + group.x] = total; }
}
`;

/** Compile-time parameters of a variant. */
interface MoveRowsVariant extends ElementVariant {
  /** from [indices[r]] to [r], or the reverse */
  scatter: boolean;
}

// move_rows: to[r] = rows[indices[r]], or with `scatter` to[indices[r]] = rows[r]
//
// Grid     threads along x for the columns, indices along y and, beyond 65 535, z
// Shapes   rows, to [., width]   indices [count], below the number of rows of the indexed side
// Writes   to by assignment; scattered indices are distinct, so that no two threads write the same element
export const moveRows = ({ vector, scatter, workgroup }: MoveRowsVariant) => wgsl`
struct Params { count: u32, width: u32 }

@group(0) @binding(0) var<storage, read> rows: array<${typeOf(vector)}>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read_write> to: array<${typeOf(vector)}>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.z * grid.y + group.y;
  let c = group.x * ${workgroup}u + thread;
  if (row >= params.count || c >= params.width) { return; }
  let packed = row * params.width + c;
  let spread = indices[row] * params.width + c;
  to[${scatter ? "spread" : "packed"}] = rows[${scatter ? "packed" : "spread"}];
}
`;

// bias_backward: dbias += sum over rows of dy
//
// Grid     one thread per column or vec4 of columns, which sums all rows: deterministic, no atomics
// Shapes   dy [rows, width], of which cols from `first` on; dbias from `into` on
// Writes   dbias by +=
export const biasBackward = ({ vector, workgroup }: ElementVariant) => wgsl`
struct Params { rows: u32, cols: u32, width: u32, first: u32, into: u32 }

@group(0) @binding(0) var<storage, read> dy: array<${typeOf(vector)}>;
@group(0) @binding(1) var<storage, read_write> dbias: array<${typeOf(vector)}>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let c = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (c >= params.cols) { return; }
  var sum = ${typeOf(vector)}(0.0);
  for (var row = 0u; row < params.rows; row++) { sum += dy[row * params.width + params.first + c]; }
  dbias[params.into + c] += sum;
}
`;
