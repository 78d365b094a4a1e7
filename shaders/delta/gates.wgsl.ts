import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { loadFunctions, type Stored, storedType } from "../lib/load.ts";
import { rowSum, type Subgroups, subgroupBegins, subgroupSize } from "../lib/reduce.ts";

/** Compile-time parameters of a variant. */
interface DeltaGatesVariant {
  /** how A_log and dt_bias are stored */
  rate: Stored;
  bias: Stored;
  workgroup: number;
}

/** log(1 + e^-|x|) by its series in e / (2 + e): exact to f32 also where e is tiny, and whatever a compiler does with 1 + e. */
const SOFTPLUS = `
fn softplus(x: f32) -> f32 {
  let e = exp(-min(abs(x), 80.0));
  let z = e / (2.0 + e);
  let s = z * z;
  let series = 1.0 + s * (1.0 / 3.0 + s * (0.2 + s * (1.0 / 7.0 + s * (1.0 / 9.0 + s * (1.0 / 11.0 + s / 13.0)))));
  return max(x, 0.0) + 2.0 * z * series;
}
fn sigmoid(x: f32) -> f32 { return 1.0 / (1.0 + exp(-max(x, -80.0))); }`;

const head = (
  { rate, bias, workgroup }: DeltaGatesVariant,
  buffers: string,
) => `${rate === "f16" || bias === "f16" ? "enable f16;\n" : ""}
struct Params { count: u32, heads: u32, stride: u32, at: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> rate: array<${storedType(rate, false)}>;
@group(0) @binding(2) var<storage, read> bias: array<${storedType(bias, false)}>;
${buffers}
@group(0) @binding(5) var<uniform> params: Params;
${loadFunctions("rate", rate, false)}
${loadFunctions("bias", bias, false)}
${SOFTPLUS}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
  let head = i % params.heads;
  let b = i / params.heads * params.stride + params.at + head;
  let a = b + params.heads;`;

// delta_gates: g = -exp(A_log) * softplus(a + dt_bias), beta = sigmoid(b)
//
// Grid     one thread per head of a row
// Shapes   x [rows, stride]: `heads` columns of b from `at` on, then as many of a   rate: A_log, bias: dt_bias [heads]
//          gates [rows, heads, 2]: g, beta
// Writes   gates by assignment
export const deltaGates = (
  v: DeltaGatesVariant,
) => `${head(v, "@group(0) @binding(3) var<storage, read_write> gates: array<vec2f>;")}
  let g = -exp(rateAt1(head)) * softplus(x[a] + biasAt1(head));
  gates[i] = vec2f(g, sigmoid(x[b]));
}
`;

// delta_gates_backward: db = dbeta * beta * (1 - beta), da = -dg * exp(A_log) * sigmoid(a + dt_bias)
//
// Grid     as delta_gates
// Shapes   as delta_gates; dgates [rows, heads, 2]: dg, dbeta   dx [rows, stride]
// Writes   the columns of b and a in dx by assignment
export const deltaGatesBackward = (v: DeltaGatesVariant) => `${head(
  v,
  `@group(0) @binding(3) var<storage, read> dgates: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;`,
)}
  let beta = sigmoid(x[b]);
  dx[b] = dgates[i].y * beta * (1.0 - beta);
  dx[a] = -dgates[i].x * exp(rateAt1(head)) * sigmoid(x[a] + biasAt1(head));
}
`;

/** Compile-time parameters of a variant. */
interface DeltaRatesVariant {
  subgroups: Subgroups;
  workgroup: number;
}

// delta_rates_backward: drate += sum over rows of dg * g, dbias += sum over rows of da
//
// Grid     one workgroup per head: deterministic, no atomics
// Shapes   gates, dgates [rows, heads, 2]   dx [rows, stride], da from `at` on   drate, dbias [heads]
// Writes   drate and dbias by +=
export const deltaRatesBackward = ({ subgroups, workgroup }: DeltaRatesVariant) => wgsl`
#if ${subgroups}
enable subgroups;
diagnostic(off, subgroup_uniformity);
#endif

struct Params { rows: u32, heads: u32, stride: u32, at: u32 }

@group(0) @binding(0) var<storage, read> gates: array<vec2f>;
@group(0) @binding(1) var<storage, read> dgates: array<vec2f>;
@group(0) @binding(2) var<storage, read> dx: array<f32>;
@group(0) @binding(3) var<storage, read_write> drate: array<f32>;
@group(0) @binding(4) var<storage, read_write> dbias: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;
${rowSum(subgroups, workgroup)}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
#if ${subgroups}
  @builtin(subgroup_invocation_id) lane: u32,
  ${subgroupSize(subgroups)}
#endif
) {
  ${subgroupBegins(subgroups)}
  let head = group.x;
  var rate = 0.0;
  var bias = 0.0;
  for (var row = thread; row < params.rows; row += ${workgroup}u) {
    rate += dgates[row * params.heads + head].x * gates[row * params.heads + head].x;
    bias += dx[row * params.stride + params.at + head];
  }
  let rates = rowSum(rate, thread${subgroups ? ", lane, lanes" : ""});
  let biases = rowSum(bias, thread${subgroups ? ", lane, lanes" : ""});
  if (thread == 0u) {
    drate[head] += rates;
    dbias[head] += biases;
  }
}
`;
