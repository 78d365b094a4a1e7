import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { SUBGROUP_NUMBER, type Subgroups, subgroupBegins, subgroupSize } from "../lib/reduce.ts";

/** Compile-time parameters of a variant. */
interface AdamW8bitVariant {
  subgroups: Subgroups;
}

/** Threads of a workgroup, four elements each: one block of 256. */
const THREADS = 64;

/** Ten to the power i − 6, by comparisons: a table would need a load for every element. */
const power = (i: string) =>
  [1, 2, 3, 4, 5, 6].reduce((chain, n) => `select(${chain}, 1e${n - 6}, ${i} >= ${n}u)`, "1e-6");

/** Lower bound of level i of the map: halfway between the last value of the level below and its own first value. */
function boundary(i: number, signed: boolean): string {
  const bins = 2 ** (signed ? i : i + 1);
  return (10 ** (i - 7) * (1 + 1.8 / bins)).toExponential(9);
}

/** Halfway between 0 and the smallest value. */
const least = (signed: boolean) => (0.5e-6 * (signed ? 0.55 : 0.325)).toExponential(9);

/** Halfway between the largest value below 1, and 1. */
const greatest = (signed: boolean) => (1 - 0.225 / (signed ? 64 : 128)).toExponential(9);

/**
 * WGSL of the dynamic 8-bit types: `decode{Signed,Unsigned}(code)` and `encode…(value)`, by arithmetic instead of the map.
 *
 * Level i holds the midpoints of n bins of [0.1, 1] times 10^(i-6), n = 2^i signed and 2^(i+1) unsigned.
 */
const codec = (signed: boolean) => {
  const [name, first] = signed ? ["Signed", 1] : ["Unsigned", 2];
  return `
fn value${name}(rank: u32) -> f32 {
  let i = firstLeadingBit(rank + ${first}u)${signed ? "" : " - 1u"};
  let bins = ${first}u << i;
  return ${power("i")} * (0.1 + 0.9 * (f32(rank + ${first}u - bins) + 0.5) / f32(bins));
}
fn rank${name}(a: f32) -> u32 {
  let i = ${[1, 2, 3, 4, 5, 6].map((n) => `u32(a > ${boundary(n, signed)})`).join(" + ")};
  let bins = ${first}u << i;
  let bin = floor((a / ${"(" + power("i") + ")"} - 0.1) / 0.9 * f32(bins));
  return bins - ${first}u + u32(clamp(bin, 0.0, f32(bins - 1u)));
}
${
  signed
    ? `
fn decodeSigned(code: u32) -> f32 {
  if (code == 255u) { return 1.0; }
  if (code == 127u) { return 0.0; }
  if (code > 127u) { return valueSigned(code - 128u); }
  return -valueSigned(126u - code);
}
fn encodeSigned(x: f32) -> u32 {
  let a = abs(x);
  if (!(a > ${least(true)})) { return 127u; }
  if (x > ${greatest(true)}) { return 255u; }
  let rank = rankSigned(a);
  return select(126u - rank, 128u + rank, x > 0.0);
}`
    : `
fn decodeUnsigned(code: u32) -> f32 {
  if (code == 255u) { return 1.0; }
  if (code == 0u) { return 0.0; }
  return valueUnsigned(code - 1u);
}
fn encodeUnsigned(x: f32) -> u32 {
  if (!(x > ${least(false)})) { return 0u; }
  if (x > ${greatest(false)}) { return 255u; }
  return rankUnsigned(x) + 1u;
}`
}`;
};

const decode4 = (name: string, words: string) =>
  `vec4f(decode${name}(${words} & 255u), decode${name}((${words} >> 8u) & 255u), decode${name}((${words} >> 16u) & 255u), decode${name}(${words} >> 24u))`;
const encode4 = (name: string, values: string) =>
  `(encode${name}(${values}.x) | (encode${name}(${values}.y) << 8u) | (encode${name}(${values}.z) << 16u) | (encode${name}(${values}.w) << 24u))`;

// adamw_8bit: decode m and v, update as in AdamW; p = (p - stepSize m / (sqrt(v) + epsilon)) decay; m, v encoded
//
// Grid     one workgroup for each block of 256, four elements per thread
// Shapes   param, grad [n]   firstCodes, secondCodes [n] bytes, four to a u32   absmax1, absmax2 [n / 256]   norm [2]
// Writes   param, codes and absmax in place; nothing if the norm is not finite
// Hazard   p is updated with the unrounded moments; stepSize and epsilon include the bias corrections
// Source   Dettmers et al. 2022, arXiv:2110.02861; bitsandbytes' block-wise AdamW. Codes are the nearest value; its CUDA
//          kernel also replaces a first moment that rounded to 0 by the smallest value of its sign
export const adamw8bit = ({ subgroups }: AdamW8bitVariant) => wgsl`
#if ${subgroups}
enable subgroups;
diagnostic(off, subgroup_uniformity);
#endif

struct Params {
  blocks: u32, decay: f32, beta1: f32, oneMinusBeta1: f32, beta2: f32, oneMinusBeta2: f32, stepSize: f32, epsilon: f32
}

@group(0) @binding(0) var<storage, read_write> param: array<vec4f>;
@group(0) @binding(1) var<storage, read> grad: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> firstCodes: array<u32>;
@group(0) @binding(3) var<storage, read_write> secondCodes: array<u32>;
@group(0) @binding(4) var<storage, read_write> absmax1: array<f32>;
@group(0) @binding(5) var<storage, read_write> absmax2: array<f32>;
@group(0) @binding(6) var<storage, read> norm: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

${SUBGROUP_NUMBER}
var<workgroup> largest: array<vec2f, ${THREADS}>;
${codec(true)}
${codec(false)}

fn most(v: vec4f) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }

@compute @workgroup_size(${THREADS})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
#if ${subgroups}
  @builtin(subgroup_invocation_id) lane: u32,
  ${subgroupSize(subgroups)}
#endif
) {
  ${subgroupBegins(subgroups)}
  if ((bitcast<u32>(norm[0]) & 0x7f800000u) == 0x7f800000u) { return; }
  let block = group.y * grid.x + group.x;
  if (block >= params.blocks) { return; }
  let i = block * ${THREADS}u + thread;
  let g = grad[i] * norm[1];
  let codes1 = firstCodes[i];
  let codes2 = secondCodes[i];
  let m = ${decode4("Signed", "codes1")} * absmax1[block] * params.beta1 + params.oneMinusBeta1 * g;
  let v = ${decode4("Unsigned", "codes2")} * absmax2[block] * params.beta2 + params.oneMinusBeta2 * g * g;
  param[i] = (param[i] - params.stepSize * (m / (sqrt(v) + params.epsilon))) * params.decay;

  var peak = vec2f(most(abs(m)), most(v));
#if ${subgroups}
  peak = subgroupMax(peak);
  if (lane == 0u) { largest[subgroupNumber] = peak; }
  workgroupBarrier();
  for (var s = 0u; s * lanes < ${THREADS}u; s++) { peak = max(peak, largest[s]); }
#else
  largest[thread] = peak;
  for (var half = ${THREADS / 2}u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) { largest[thread] = max(largest[thread], largest[thread + half]); }
  }
  workgroupBarrier();
  peak = largest[0];
#endif
  storageBarrier(); // all threads have read the old absmax
  if (thread == 0u) {
    absmax1[block] = peak.x;
    absmax2[block] = peak.y;
  }
  var unit = vec4f(0.0);
  if (peak.x > 0.0) { unit = m / peak.x; }
  firstCodes[i] = ${encode4("Signed", "unit")};
  unit = vec4f(0.0);
  if (peak.y > 0.0) { unit = v / peak.y; }
  secondCodes[i] = ${encode4("Unsigned", "unit")};
}
`;

/** Compile-time parameters of a variant. */
interface Dequantize8bitVariant {
  signed: boolean;
}

// dequantize_8bit: x = map[code] * absmax of its block
//
// Grid     one workgroup for each block of 256, four elements per thread
// Shapes   codes [n] bytes, four to a u32   absmax [n / 256]   x [n]
// Writes   x by assignment
export const dequantize8bit = ({ signed }: Dequantize8bitVariant) => wgsl`
struct Params { blocks: u32 }

@group(0) @binding(0) var<storage, read> codes: array<u32>;
@group(0) @binding(1) var<storage, read> absmax: array<f32>;
@group(0) @binding(2) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;
${codec(signed)}

@compute @workgroup_size(${THREADS})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let block = group.y * grid.x + group.x;
  if (block >= params.blocks) { return; }
  let i = block * ${THREADS}u + thread;
  let four = codes[i];
  x[i] = ${decode4(signed ? "Signed" : "Unsigned", "four")} * absmax[block];
}
`;
