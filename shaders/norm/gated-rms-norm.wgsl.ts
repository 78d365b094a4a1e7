import { loadFunctions, type Stored, storedType } from "../lib/load.ts";
import { SEGMENT, segmentSum } from "../lib/segments.ts";
import { sigmoid } from "../lib/sigmoid.ts";

/** Compile-time parameters of a variant. */
interface GatedRmsNormVariant {
  /** how the scale is stored */
  weight: Stored;
  /** elements of a head */
  size: number;
  /** a multiple of 16 */
  workgroup: number;
}

const head = (v: GatedRmsNormVariant, params: string, buffers: string) => `${v.weight === "f16" ? "enable f16;\n" : ""}
struct Params { ${params} }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> gate: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<${storedType(v.weight, false)}>;
${buffers}
@group(0) @binding(6) var<uniform> params: Params;
${loadFunctions("weight", v.weight, false)}
${segmentSum(v.workgroup)}

@compute @workgroup_size(${v.workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let item = (group.y * grid.x + group.x) * ${v.workgroup / SEGMENT}u + thread / ${SEGMENT}u;
  let lane = thread % ${SEGMENT}u;
  let live = item < params.items;
  let at = item * ${v.size}u;
  let gateAt = item / params.heads * params.stride + params.first + item % params.heads * ${v.size}u;`;

// gated_rms_norm: y = x * rstd * weight * silu(gate), rstd = 1 / sqrt(mean(x^2) + eps), head by head
//
// Grid     16 threads a head; a number of workgroups, folded over y
// Shapes   x, y [rows, heads, size]   gate [rows, stride], of which heads * size columns from `first` on   weight [size]
//          rstd [rows, heads]
// Writes   y and rstd by assignment
// Source   transformers' Qwen3_5RMSNormGated: the norm before the gate
export const gatedRmsNorm = (v: GatedRmsNormVariant) => `${head(
  v,
  "items: u32, heads: u32, stride: u32, first: u32, eps: f32",
  `@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> rstd: array<f32>;`,
)}
  var squares = 0.0;
  if (live) {
    for (var c = lane; c < ${v.size}u; c += ${SEGMENT}u) { squares += x[at + c] * x[at + c]; }
  }
  let scale = inverseSqrt(segmentSum(squares, thread) / ${v.size}.0 + params.eps);
  if (!live) { return; }
  if (lane == 0u) { rstd[item] = scale; }
  for (var c = lane; c < ${v.size}u; c += ${SEGMENT}u) {
    let g = gate[gateAt + c];
    y[at + c] = x[at + c] * scale * weightAt1(c) * g * (${sigmoid("f32")});
  }
}
`;

// gated_rms_norm_backward: with n = x * rstd, s = sigmoid(gate), d = dy * weight: dgate = d * n * s * (1 + gate * (1 - s)),
// dx = rstd * (h - n * mean(h * n)), h = d * gate * s
//
// Grid, shapes as gated_rms_norm; dgate [rows, stride] like gate
// Writes   dgate's columns by assignment; dy becomes dx
export const gatedRmsNormBackward = (v: GatedRmsNormVariant) => `${head(
  v,
  "items: u32, heads: u32, stride: u32, first: u32",
  `@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read_write> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dgate: array<f32>;`,
)}
  var along = 0.0;
  var scale = 0.0;
  if (live) {
    scale = rstd[item];
    for (var c = lane; c < ${v.size}u; c += ${SEGMENT}u) {
      let g = gate[gateAt + c];
      let s = ${sigmoid("f32")};
      let n = x[at + c] * scale;
      let d = dy[at + c] * weightAt1(c);
      dgate[gateAt + c] = d * n * s * (1.0 + g * (1.0 - s));
      dy[at + c] = d * g * s;
      along += d * g * s * n;
    }
  }
  let mean = segmentSum(along, thread) / ${v.size}.0;
  if (!live) { return; }
  for (var c = lane; c < ${v.size}u; c += ${SEGMENT}u) { dy[at + c] = scale * (dy[at + c] - x[at + c] * scale * mean); }
}
`;

/** Compile-time parameters of a variant. */
interface GatedRmsNormWeightVariant {
  size: number;
  workgroup: number;
}

// gated_rms_norm_weight_backward: sums[b, c] = sum over the heads of block b of dy * x * rstd * silu(gate)
//
// Grid     x: blocks of `block` heads; y: threads for the columns of a head
// Shapes   x, dy [rows, heads, size]   gate [rows, stride]   rstd [rows, heads]   sums [blocks, size]
// Writes   sums by assignment; whoever adds them up does so in order: deterministic, no atomics
export const gatedRmsNormWeightBackward = ({ size, workgroup }: GatedRmsNormWeightVariant) => `
struct Params { items: u32, heads: u32, stride: u32, first: u32, block: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> gate: array<f32>;
@group(0) @binding(2) var<storage, read> rstd: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let c = group.y * ${workgroup}u + thread;
  if (c >= ${size}u) { return; }
  var sum = 0.0;
  let end = min((group.x + 1u) * params.block, params.items);
  for (var item = group.x * params.block; item < end; item++) {
    let g = gate[item / params.heads * params.stride + params.first + item % params.heads * ${size}u + c];
    sum += dy[item * ${size}u + c] * x[item * ${size}u + c] * rstd[item] * g * (${sigmoid("f32")});
  }
  sums[group.x * ${size}u + c] = sum;
}
`;
