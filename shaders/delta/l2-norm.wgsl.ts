import { SEGMENT, segmentSum } from "../lib/segments.ts";

/** Compile-time parameters of a variant. */
interface DeltaL2NormVariant {
  /** elements of a query or key head, a multiple of 4 */
  keyDim: number;
  keyHeads: number;
  /** vec4s of a row */
  width: number;
  /** a multiple of 16 */
  workgroup: number;
}

const EPS = "1.0e-6";

const main = (workgroup: number) => `
@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let item = (group.y * grid.x + group.x) * ${workgroup / SEGMENT}u + thread / ${SEGMENT}u;
  let lane = thread % ${SEGMENT}u;`;

// delta_l2_norm: each query and key head to unit length, x * rsqrt(sum x^2 + 1e-6); queries then by 1 / sqrt(keyDim)
//
// Grid     16 threads a head; a number of workgroups, folded over y
// Shapes   x [rows, 4 width]: keyHeads query heads, as many key heads, then values, which stay   scales [rows, 2 keyHeads]
// Writes   x in place, scales by assignment: the rsqrt, for the backward pass
export const deltaL2Norm = ({ keyDim, keyHeads, width, workgroup }: DeltaL2NormVariant) => `
struct Params { items: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> scales: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;
${segmentSum(workgroup)}
${main(workgroup)}
  let live = item < params.items;
  let head = item % ${2 * keyHeads}u;
  let at = item / ${2 * keyHeads}u * ${width}u + head * ${keyDim / 4}u;
  var squares = 0.0;
  if (live) {
    for (var c = lane; c < ${keyDim / 4}u; c += ${SEGMENT}u) { let v = x[at + c]; squares += dot(v, v); }
  }
  let scale = inverseSqrt(segmentSum(squares, thread) + ${EPS});
  if (!live) { return; }
  if (lane == 0u) { scales[item] = scale; }
  let factor = select(scale, scale * ${1 / Math.sqrt(keyDim)}, head < ${keyHeads}u);
  for (var c = lane; c < ${keyDim / 4}u; c += ${SEGMENT}u) { x[at + c] *= factor; }
}
`;

/** Compile-time parameters of a variant. */
interface DeltaL2NormBackwardVariant extends DeltaL2NormVariant {
  valueHeads: number;
}

// delta_l2_norm_backward: dx = scale * (f * d - y * (y . d) / f), d: the sum of what the value heads add; f: the factor of queries
//
// Grid     as delta_l2_norm
// Shapes   y, dx [rows, 4 width]: y is what delta_l2_norm left   scales [rows, 2 keyHeads]
//          parts [rows, valueHeads, 2, keyDim]: gradients of the normed query and key by value head
// Writes   the query and key heads of dx by assignment
export const deltaL2NormBackward = (v: DeltaL2NormBackwardVariant) => {
  const { keyDim, keyHeads, valueHeads, width, workgroup } = v;
  const perKey = valueHeads / keyHeads;
  return `
struct Params { items: u32 }

@group(0) @binding(0) var<storage, read> y: array<vec4f>;
@group(0) @binding(1) var<storage, read> scales: array<f32>;
@group(0) @binding(2) var<storage, read> parts: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;
${segmentSum(workgroup)}
${main(workgroup)}
  let live = item < params.items;
  let head = item % ${2 * keyHeads}u;
  let row = item / ${2 * keyHeads}u;
  let at = row * ${width}u + head * ${keyDim / 4}u;
  let turn = head / ${keyHeads}u; // 0: a query, 1: a key
  let from4 = ((row * ${valueHeads}u + head % ${keyHeads}u * ${perKey}u) * 2u + turn) * ${keyDim / 4}u;
  var along = 0.0;
  if (live) {
    for (var c = lane; c < ${keyDim / 4}u; c += ${SEGMENT}u) {
      var d = parts[from4 + c];
      for (var n = 1u; n < ${perKey}u; n++) { d += parts[from4 + n * ${keyDim / 2}u + c]; }
      dx[at + c] = d;
      along += dot(d, y[at + c]);
    }
  }
  let total = segmentSum(along, thread);
  if (!live) { return; }
  let scale = scales[item];
  let factor = select(1.0, ${1 / Math.sqrt(keyDim)}, turn == 0u);
  for (var c = lane; c < ${keyDim / 4}u; c += ${SEGMENT}u) {
    dx[at + c] = scale * (factor * dx[at + c] - y[at + c] * (total / factor));
  }
}
`;
};
