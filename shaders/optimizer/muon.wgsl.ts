import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

/** What one compiled variant is specialised to. */
interface MuonVariant {
  /** four elements a thread; the arrays then hold a multiple of four */
  vector: boolean;
  workgroup: number;
}

const head = (workgroup: number) => `
@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }`;

const INFINITE = "(bitcast<u32>(norm[0]) & 0x7f800000u) == 0x7f800000u";

// muon_momentum: m += (g - m)(1 - momentum); u = g + mix (m - g)
//
// Grid     one thread for each element or vec4
// Shapes   grad, m, u [n]   norm [2]: the gradients' norm, and what to multiply them by
// Writes   m in place and u by assignment; where the norm is not finite, m stays and u is zero
export const muonMomentum = ({ vector, workgroup }: MuonVariant) => {
  const type = vector ? "vec4f" : "f32";
  return wgsl`
struct Params { count: u32, oneMinusMomentum: f32, mix: f32 }

@group(0) @binding(0) var<storage, read> grad: array<${type}>;
@group(0) @binding(1) var<storage, read_write> m: array<${type}>;
@group(0) @binding(2) var<storage, read_write> u: array<${type}>;
@group(0) @binding(3) var<storage, read> norm: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;
${head(workgroup)}
  if (${INFINITE}) { u[i] = ${type}(0.0); return; }
  let g = grad[i] * norm[1];
  let moved = m[i] + (g - m[i]) * params.oneMinusMomentum;
  m[i] = moved;
  u[i] = g + params.mix * (moved - g);
}
`;
};

// muon_unit: x = x / max(size[0], epsilon)
//
// Grid     one thread for each element or vec4
// Shapes   x [n]   size [2], the first of which is the norm of x
// Writes   x in place
export const muonUnit = ({ vector, workgroup }: MuonVariant) => {
  const type = vector ? "vec4f" : "f32";
  return wgsl`
struct Params { count: u32, epsilon: f32 }

@group(0) @binding(0) var<storage, read_write> x: array<${type}>;
@group(0) @binding(1) var<storage, read> size: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;
${head(workgroup)}
  x[i] = x[i] / max(size[0], params.epsilon);
}
`;
};

// muon_apply: p = p decay - rate u
//
// Grid     one thread for each element or vec4
// Shapes   param, u [n]   norm [2]
// Writes   param in place; nothing where the norm is not finite
export const muonApply = ({ vector, workgroup }: MuonVariant) => {
  const type = vector ? "vec4f" : "f32";
  return wgsl`
struct Params { count: u32, decay: f32, rate: f32 }

@group(0) @binding(0) var<storage, read_write> param: array<${type}>;
@group(0) @binding(1) var<storage, read> u: array<${type}>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;
${head(workgroup)}
  if (${INFINITE}) { return; }
  param[i] = param[i] * params.decay - params.rate * u[i];
}
`;
};
