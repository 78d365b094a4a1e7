import { sigmoid } from "../lib/sigmoid.ts";

/** Compile-time parameters of a variant. */
interface HeadVariant {
  /** elements of a head */
  headDim: number;
  /** four elements a thread; headDim is then a multiple of four */
  vector: boolean;
  workgroup: number;
}

const main = (workgroup: number) => `
@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.z * grid.y + group.y;
  let at = group.x * ${workgroup}u + thread;`;

// move_heads: y[row, yFirst + h * yStep] = x[row, xFirst + h * xStep] for h < take
//
// Grid     threads along x for the elements of the heads of a row, rows along y and, beyond 65 535, z
// Shapes   x [rows, xPer, headDim]   y [rows, yPer, headDim]
// Writes   those heads of y by assignment
export const moveHeads = ({ headDim, vector, workgroup }: HeadVariant) => {
  const type = vector ? "vec4f" : "f32";
  const size = vector ? headDim / 4 : headDim;
  return `
struct Params { rows: u32, take: u32, xPer: u32, xFirst: u32, xStep: u32, yPer: u32, yFirst: u32, yStep: u32 }

@group(0) @binding(0) var<storage, read> x: array<${type}>;
@group(0) @binding(1) var<storage, read_write> y: array<${type}>;
@group(0) @binding(2) var<uniform> params: Params;
${main(workgroup)}
  let head = at / ${size}u;
  let c = at % ${size}u;
  if (row >= params.rows || head >= params.take) { return; }
  y[(row * params.yPer + params.yFirst + head * params.yStep) * ${size}u + c] =
    x[(row * params.xPer + params.xFirst + head * params.xStep) * ${size}u + c];
}
`;
};

// sigmoid_gate: y = o * sigmoid(gate)
//
// Grid     as move_heads, for the heads of o
// Shapes   o, y [rows, heads, headDim]   x [rows, per, headDim], where the gate of head h is 2 h + 1
// Writes   y by assignment
// Source   transformers' Qwen3_5Attention
export const sigmoidGate = ({ headDim, vector, workgroup }: HeadVariant) => {
  const type = vector ? "vec4f" : "f32";
  const size = vector ? headDim / 4 : headDim;
  return `
struct Params { rows: u32, heads: u32, per: u32 }

@group(0) @binding(0) var<storage, read> o: array<${type}>;
@group(0) @binding(1) var<storage, read> x: array<${type}>;
@group(0) @binding(2) var<storage, read_write> y: array<${type}>;
@group(0) @binding(3) var<uniform> params: Params;
${main(workgroup)}
  if (row >= params.rows || at >= params.heads * ${size}u) { return; }
  let g = x[(row * params.per + 2u * (at / ${size}u) + 1u) * ${size}u + at % ${size}u];
  let i = row * params.heads * ${size}u + at;
  y[i] = o[i] * (${sigmoid(type)});
}
`;
};

// sigmoid_gate_backward: dgate = dy * o * s * (1 - s), dy <- dy * s, s = sigmoid(gate)
//
// Grid, shapes as sigmoid_gate; dx like x
// Writes   the gates of dx by assignment; dy becomes the gradient of o
export const sigmoidGateBackward = ({ headDim, vector, workgroup }: HeadVariant) => {
  const type = vector ? "vec4f" : "f32";
  const size = vector ? headDim / 4 : headDim;
  return `
struct Params { rows: u32, heads: u32, per: u32 }

@group(0) @binding(0) var<storage, read> o: array<${type}>;
@group(0) @binding(1) var<storage, read> x: array<${type}>;
@group(0) @binding(2) var<storage, read_write> dy: array<${type}>;
@group(0) @binding(3) var<storage, read_write> dx: array<${type}>;
@group(0) @binding(4) var<uniform> params: Params;
${main(workgroup)}
  if (row >= params.rows || at >= params.heads * ${size}u) { return; }
  let gate = (row * params.per + 2u * (at / ${size}u) + 1u) * ${size}u + at % ${size}u;
  let g = x[gate];
  let s = ${sigmoid(type)};
  let i = row * params.heads * ${size}u + at;
  let d = dy[i];
  dx[gate] = d * o[i] * s * (1.0 - s);
  dy[i] = d * s;
}
`;
};
