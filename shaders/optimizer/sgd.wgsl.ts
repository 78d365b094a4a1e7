import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

/** What one compiled variant is specialised to. */
interface SgdVariant {
  /** four elements a thread; the arrays then hold a multiple of four */
  vector: boolean;
  workgroup: number;
}

// sgd: p -= lr (g + weightDecay p)
//
// Grid     one thread for each element or vec4
// Shapes   param, grad [n]   norm [2]: the gradients' norm, and what to multiply them by
// Writes   param in place; nothing at all where the norm is not finite
// Source   torch.optim.SGD without momentum
export const sgd = ({ vector, workgroup }: SgdVariant) => {
  const type = vector ? "vec4f" : "f32";
  return wgsl`
struct Params { count: u32, learningRate: f32, weightDecay: f32 }

@group(0) @binding(0) var<storage, read_write> param: array<${type}>;
@group(0) @binding(1) var<storage, read> grad: array<${type}>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

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
  param[i] -= params.learningRate * (g + params.weightDecay * param[i]);
}
`;
};
