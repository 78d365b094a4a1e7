import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { sigmoid } from "./lib/sigmoid.ts";

/** What one compiled variant is specialised to. */
export interface SwigluVariant {
  /** four elements a thread; the arrays then hold a multiple of four */
  vector: boolean;
  workgroup: number;
}

// swiglu: y = silu(gate) * up, silu(g) = g / (1 + exp(-g))
//
// Grid     one thread for each element or vec4
// Shapes   gate, up, y [n]
// Writes   y by assignment
// Hazard   y is distinct from gate and up
// Source   Shazeer 2020, arXiv:2002.05202
export const swiglu = ({ vector, workgroup }: SwigluVariant) => {
  const type = vector ? "vec4f" : "f32";
  return wgsl`
struct Params { count: u32 }

@group(0) @binding(0) var<storage, read> gate: array<${type}>;
@group(0) @binding(1) var<storage, read> up: array<${type}>;
@group(0) @binding(2) var<storage, read_write> y: array<${type}>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
  let g = gate[i];
  let s = ${sigmoid(type)};
  y[i] = g * s * up[i];
}
`;
};

// swiglu_backward: gate <- dy * up * s * (1 + gate * (1 - s)), up <- dy * gate * s, s = sigmoid(gate)
//
// Grid     one thread for each element or vec4
// Shapes   gate, up, dy [n]
// Writes   gate and up in place: they become their own gradients
// Hazard   dy is distinct from gate and up
export const swigluBackward = ({ vector, workgroup }: SwigluVariant) => {
  const type = vector ? "vec4f" : "f32";
  return wgsl`
struct Params { count: u32 }

@group(0) @binding(0) var<storage, read_write> gate: array<${type}>;
@group(0) @binding(1) var<storage, read_write> up: array<${type}>;
@group(0) @binding(2) var<storage, read> dy: array<${type}>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
  let g = gate[i];
  let u = up[i];
  let d = dy[i];
  let s = ${sigmoid(type)};
  gate[i] = d * u * s * (1.0 + g * (1.0 - s));
  up[i] = d * g * s;
}
`;
};
