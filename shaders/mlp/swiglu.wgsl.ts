import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { sigmoid } from "../lib/sigmoid.ts";

/** Compile-time parameters of a variant. */
interface SwigluVariant {
  /** four elements per thread; the length of arrays is then a multiple of four */
  vector: boolean;
  workgroup: number;
}

// swiglu: y = silu(gate) * up, silu(g) = g / (1 + exp(-g))
//
// Grid     one thread for each element or vec4 of y
// Shapes   gateUp [rows, 2 width]: gate, then up   y [rows, width]
// Writes   y by assignment
// Hazard   y is distinct from gateUp
// Source   Shazeer 2020, arXiv:2002.05202
export const swiglu = ({ vector, workgroup }: SwigluVariant) => {
  const type = vector ? "vec4f" : "f32";
  return wgsl`
struct Params { count: u32, width: u32 }

@group(0) @binding(0) var<storage, read> gateUp: array<${type}>;
@group(0) @binding(1) var<storage, read_write> y: array<${type}>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
  let at = i + i / params.width * params.width;
  let g = gateUp[at];
  let s = ${sigmoid(type)};
  y[i] = g * s * gateUp[at + params.width];
}
`;
};

// swiglu_backward: gate <- dy * up * s * (1 + gate * (1 - s)), up <- dy * gate * s, dy <- gate * s * up, s = sigmoid(gate)
//
// Grid     one thread for each element or vec4 of dy
// Shapes   gateUp [rows, 2 width]: gate, then up   dy [rows, width]
// Writes   gate and up in place: they become their own gradients; dy becomes the output of the forward pass
// Hazard   dy is distinct from gateUp
export const swigluBackward = ({ vector, workgroup }: SwigluVariant) => {
  const type = vector ? "vec4f" : "f32";
  return wgsl`
struct Params { count: u32, width: u32 }

@group(0) @binding(0) var<storage, read_write> gateUp: array<${type}>;
@group(0) @binding(1) var<storage, read_write> dy: array<${type}>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
  let at = i + i / params.width * params.width;
  let g = gateUp[at];
  let u = gateUp[at + params.width];
  let d = dy[i];
  let s = ${sigmoid(type)};
  gateUp[at] = d * u * s * (1.0 + g * (1.0 - s));
  gateUp[at + params.width] = d * g * s;
  dy[i] = g * s * u;
}
`;
};
