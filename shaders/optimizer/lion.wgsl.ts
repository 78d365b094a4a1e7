import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

/** What one compiled variant is specialised to. */
interface LionVariant {
  /** four elements a thread; the arrays then hold a multiple of four */
  vector: boolean;
  workgroup: number;
}

// lion: p = p decay - lr sign(beta1 m + (1 - beta1) g); m = beta2 m + (1 - beta2) g
//
// Grid     one thread for each element or vec4
// Shapes   param, grad, m [n]   norm [2]: the gradients' norm, and what to multiply them by
// Writes   param and m in place; nothing at all where the norm is not finite
// Source   Chen et al. 2023, arXiv:2302.06675, in the order of bitsandbytes' Lion
export const lion = ({ vector, workgroup }: LionVariant) => {
  const type = vector ? "vec4f" : "f32";
  return wgsl`
struct Params { count: u32, decay: f32, beta1: f32, oneMinusBeta1: f32, beta2: f32, oneMinusBeta2: f32, learningRate: f32 }

@group(0) @binding(0) var<storage, read_write> param: array<${type}>;
@group(0) @binding(1) var<storage, read> grad: array<${type}>;
@group(0) @binding(2) var<storage, read_write> m: array<${type}>;
@group(0) @binding(3) var<storage, read> norm: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

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
  let step = sign(params.beta1 * m[i] + params.oneMinusBeta1 * g);
  param[i] = param[i] * params.decay - params.learningRate * step;
  m[i] = params.beta2 * m[i] + params.oneMinusBeta2 * g;
}
`;
};
