import { loadFunctions, type Stored, storedType } from "../lib/load.ts";
import { sigmoid } from "../lib/sigmoid.ts";

/** Compile-time parameters of a variant. */
interface DeltaConvVariant {
  /** how the filters are stored; activations are f32 */
  weight: Stored;
  /** four channels a thread; channels and row strides are then multiples of four */
  vector: boolean;
  workgroup: number;
}

/** Taps of a filter: the token itself and the three before it. */
export const TAPS = 4;

const TAP = [0, 1, 2, 3];

/** WGSL of tap `j` of the thread's channels: filters lie as `[channels, 1, 4]`. */
const filters = (vector: boolean) => `
  ${(vector ? TAP : [0]).map((n) => `let f${n} = weightAt4(4u * (${vector ? `4u * c + ${n}u` : "c"}));`).join(" ")}
  ${TAP.map((j) => `let w${j} = ${vector ? `vec4f(${TAP.map((n) => `f${n}[${j}]`).join(", ")})` : `f0[${j}]`};`).join(" ")}`;

/** WGSL of `p`, the filtered input of a row: rows before `start` are none. */
const filtered = (type: string) => `
  var p = ${type}();
  ${[3, 2, 1].map((back) => `if (row >= start + ${back}u) { p += w${3 - back} * x[(row - ${back}u) * params.stride + c]; }`).join("\n  ")}
  p += w3 * x[row * params.stride + c];`;

const head = ({ weight, vector, workgroup }: DeltaConvVariant) => `${weight === "f16" ? "enable f16;\n" : ""}
struct Params { rows: u32, channels: u32, stride: u32 }

@group(0) @binding(0) var<storage, read> x: array<${vector ? "vec4f" : "f32"}>;
@group(0) @binding(1) var<storage, read> spans: array<vec2u>;
@group(0) @binding(2) var<storage, read> weight: array<${storedType(weight, true)}>;
@group(0) @binding(3) var<storage, read_write> y: array<${vector ? "vec4f" : "f32"}>;
@group(0) @binding(4) var<uniform> params: Params;
${loadFunctions("weight", weight, true)}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.z * grid.y + group.y;
  let c = group.x * ${workgroup}u + thread;
  if (row >= params.rows || c >= params.channels) { return; }
  ${filters(vector)}`;

// delta_conv: y = silu(p), p[t, c] = sum over j of weight[c, j] * x[t - 3 + j, c], of rows of the same sequence
//
// Grid     threads along x for the channels, rows along y and, beyond 65 535, z
// Shapes   x [rows, stride], of which the first `channels` columns; spans [rows, 2]: where a row's sequence begins and ends
//          weight [channels, 1, 4]   y [rows, channels]; channels and stride in vec4s with `vector`
// Writes   y by assignment
// Source   Gu and Dao 2023, arXiv:2312.00752: causal depthwise convolution of width 4
export const deltaConv = (v: DeltaConvVariant) => {
  const type = v.vector ? "vec4f" : "f32";
  return `${head(v)}
  let start = spans[row].x;
  ${filtered(type)}
  let g = p;
  y[row * params.channels + c] = p * (${sigmoid(type)});
}
`;
};

// delta_conv_activation_backward: y <- y * s * (1 + p * (1 - s)), s = sigmoid(p): the gradient of p from that of silu(p)
//
// Grid, shapes as delta_conv; y holds the gradient of its result
// Writes   y in place
export const deltaConvActivationBackward = (v: DeltaConvVariant) => {
  const type = v.vector ? "vec4f" : "f32";
  return `${head(v)}
  let start = spans[row].x;
  ${filtered(type)}
  let g = p;
  let s = ${sigmoid(type)};
  y[row * params.channels + c] *= s * (1.0 + p * (1.0 - s));
}
`;
};

// delta_conv_input_backward: y[t, c] = sum over j of weight[c, j] * dp[t + 3 - j, c], of rows of the same sequence
//
// Grid, spans, weight as delta_conv
// Shapes   x: the gradient of p [rows, channels]   y [rows, stride], of which the first `channels` columns
// Writes   those columns of y by assignment
export const deltaConvInputBackward = (v: DeltaConvVariant) => {
  const type = v.vector ? "vec4f" : "f32";
  return `${head(v)}
  let end = spans[row].y;
  var sum = ${type}();
  ${TAP.map((ahead) => `if (row + ${ahead}u < end) { sum += w${3 - ahead} * x[(row + ${ahead}u) * params.channels + c]; }`).join("\n  ")}
  y[row * params.stride + c] = sum;
}
`;
};

/** Compile-time parameters of a variant. */
interface DeltaConvWeightVariant {
  workgroup: number;
}

// delta_conv_weight_backward: sums[b, c, j] = sum over the rows of block b of dp[t, c] * x[t - 3 + j, c]
//
// Grid     x: threads for the channels; y: blocks of `block` rows
// Shapes   x [rows, stride]   dp [rows, channels]   sums [blocks, channels, 4]
// Writes   sums by assignment; whoever adds them up does so in order: deterministic, no atomics
export const deltaConvWeightBackward = ({ workgroup }: DeltaConvWeightVariant) => `
struct Params { rows: u32, channels: u32, stride: u32, block: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> spans: array<vec2u>;
@group(0) @binding(2) var<storage, read> dp: array<f32>;
@group(0) @binding(3) var<storage, read_write> sums: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let c = group.x * ${workgroup}u + thread;
  if (c >= params.channels) { return; }
  var sum = vec4f();
  let end = min((group.y + 1u) * params.block, params.rows);
  for (var row = group.y * params.block; row < end; row++) {
    let start = spans[row].x;
    var seen = vec4f();
    ${[3, 2, 1].map((back) => `if (row >= start + ${back}u) { seen[${3 - back}] = x[(row - ${back}u) * params.stride + c]; }`).join("\n    ")}
    seen[3] = x[row * params.stride + c];
    sum += dp[row * params.channels + c] * seen;
  }
  sums[group.y * params.channels + c] = sum;
}
`;

// delta_conv_step: delta_conv of one token a row, whose three predecessors lie in its slot; the token joins them
//
// Grid     threads along x for the channels, rows along y
// Shapes   x [rows, stride]   slots, positions [rows]   columns [slots, 3, channels]: the inputs before, oldest first
//          weight [channels, 1, 4]   y [rows, channels]
// Writes   y by assignment, columns in place; what lies there from before position 0 is not read
// Hazard   no two rows name the same slot
export const deltaConvStep = ({ weight, vector, workgroup }: DeltaConvVariant) => {
  const type = vector ? "vec4f" : "f32";
  return `${weight === "f16" ? "enable f16;\n" : ""}
struct Params { rows: u32, channels: u32, stride: u32 }

@group(0) @binding(0) var<storage, read> x: array<${type}>;
@group(0) @binding(1) var<storage, read> weight: array<${storedType(weight, true)}>;
@group(0) @binding(2) var<storage, read> slots: array<u32>;
@group(0) @binding(3) var<storage, read> positions: array<u32>;
@group(0) @binding(4) var<storage, read_write> columns: array<${type}>;
@group(0) @binding(5) var<storage, read_write> y: array<${type}>;
@group(0) @binding(6) var<uniform> params: Params;
${loadFunctions("weight", weight, true)}

@compute @workgroup_size(${workgroup})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = group.y;
  let c = group.x * ${workgroup}u + thread;
  if (c >= params.channels) { return; }
  ${filters(vector)}
  let at = slots[row] * 3u * params.channels + c;
  let position = positions[row];
  let own = x[row * params.stride + c];
  let x1 = columns[at + params.channels];
  let x2 = columns[at + 2u * params.channels];
  var p = ${type}();
  if (position >= 3u) { p += w0 * columns[at]; }
  if (position >= 2u) { p += w1 * x1; }
  if (position >= 1u) { p += w2 * x2; }
  p += w3 * own;
  columns[at] = x1;
  columns[at + params.channels] = x2;
  columns[at + 2u * params.channels] = own;
  let g = p;
  y[row * params.channels + c] = p * (${sigmoid(type)});
}
`;
};

// delta_conv_fill: the last three inputs of sequences of a packed batch into slots
//
// Grid     threads along x for the channels; y: the entries of ends
// Shapes   x [rows, stride]   spans [rows, 2]   ends [n, 3]: a sequence, its last row, a slot   columns [slots, 3, channels]
// Writes   columns by assignment, 0 for what lies before a sequence; no two entries name the same slot
export const deltaConvFill = ({ workgroup }: DeltaConvWeightVariant) => `
struct Params { channels: u32, stride: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> spans: array<vec2u>;
@group(0) @binding(2) var<storage, read> ends: array<u32>;
@group(0) @binding(3) var<storage, read_write> columns: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let c = group.x * ${workgroup}u + thread;
  if (c >= params.channels) { return; }
  let last = ends[3u * group.y + 1u];
  let to = ends[3u * group.y + 2u] * 3u * params.channels + c;
  let start = spans[last].x;
  for (var back = 0u; back < 3u; back++) {
    var value = 0.0;
    if (last >= start + back) { value = x[(last - back) * params.stride + c]; }
    columns[to + (2u - back) * params.channels] = value;
  }
}
`;
