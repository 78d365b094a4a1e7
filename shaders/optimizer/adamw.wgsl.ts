import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

/** Compile-time parameters of a variant. */
interface AdamWVariant {
  /** four elements per thread; the length of arrays is then a multiple of four */
  vector: boolean;
  workgroup: number;
}

// adamw: p *= decay; m += (g - m)(1 - beta1); v = beta2 v + (1 - beta2) g^2; p -= stepSize m / (sqrt(v) / root + epsilon)
//
// Grid     one thread for each element or vec4
// Shapes   param, grad, m, v [n]   norm [2]: the gradients' norm, and their factor
// Writes   param, m and v in place; nothing if the norm is not finite
// Hazard   the four arrays must not overlap
// Source   Loshchilov and Hutter 2019, arXiv:1711.05101, in the order of torch.optim.AdamW
export const adamw = ({ vector, workgroup }: AdamWVariant) => {
  const type = vector ? "vec4f" : "f32";
  return wgsl`
struct Params {
  count: u32, decay: f32, oneMinusBeta1: f32, beta2: f32, oneMinusBeta2: f32, stepSize: f32, root: f32, epsilon: f32
}

@group(0) @binding(0) var<storage, read_write> param: array<${type}>;
@group(0) @binding(1) var<storage, read> grad: array<${type}>;
@group(0) @binding(2) var<storage, read_write> m: array<${type}>;
@group(0) @binding(3) var<storage, read_write> v: array<${type}>;
@group(0) @binding(4) var<storage, read> norm: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  if ((bitcast<u32>(norm[0]) & 0x7f800000u) == 0x7f800000u) { return; }
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
  let g = grad[i] * norm[1];
  let first = m[i] + (g - m[i]) * params.oneMinusBeta1;
  let second = params.beta2 * v[i] + params.oneMinusBeta2 * g * g;
  m[i] = first;
  v[i] = second;
  param[i] = param[i] * params.decay - params.stepSize * (first / (sqrt(second) / params.root + params.epsilon));
}
`;
};
