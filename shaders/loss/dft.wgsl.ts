import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

/** What one compiled variant is specialised to. */
interface DftVariant {
  workgroup: number;
}

// dft: d loss / d logp of -sg(p) * logp, p = exp(logp): -factor * p
//
// Grid     one thread for each row
// Shapes   logp, dlogp [count]
// Writes   dlogp by assignment
// Source   Wu et al. 2025, arXiv:2508.05629
export const dft = ({ workgroup }: DftVariant) => wgsl`
struct Params { count: u32, factor: f32 }

@group(0) @binding(0) var<storage, read> logp: array<f32>;
@group(0) @binding(1) var<storage, read_write> dlogp: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
  dlogp[i] = -params.factor * exp(logp[i]);
}
`;
