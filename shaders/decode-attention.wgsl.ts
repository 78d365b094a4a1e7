import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

/** What one compiled variant is specialised to. */
export interface DecodeAttentionVariant {
  headDim: number;
  heads: number;
  kvHeads: number;
  /** keys of a split: also the threads of a workgroup */
  split: number;
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i);

// decode_attention: one query row a sequence against its slot of the cache, a split of the keys at a time
//
// Grid     x: rows; y: key heads; z: splits of the keys, those past a row's end write an empty partial
// Shapes   q [rows, heads * headDim]   keys, values [slots * capacity, kvHeads * headDim]   slots, positions [rows]
//          partial [rows, splits, heads, headDim + 2]: the unscaled sum, then its maximum and denominator
// Writes   partial by assignment
// Source   flash-decoding: Dao, Haziza, Massa and Sizov 2023
export const decodeAttention = ({ headDim, heads, kvHeads, split }: DecodeAttentionVariant) => {
  const perKv = heads / kvHeads;
  return wgsl`
struct Params { capacity: u32, splits: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> keys: array<f32>;
@group(0) @binding(2) var<storage, read> values: array<f32>;
@group(0) @binding(3) var<storage, read> slots: array<u32>;
@group(0) @binding(4) var<storage, read> positions: array<u32>;
@group(0) @binding(5) var<storage, read_write> partials: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

var<workgroup> scores: array<f32, ${perKv * split}>;

@compute @workgroup_size(${split})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = group.x;
  let kvHead = group.y;
  let first = group.z * ${split}u;
  let length = min(positions[row] + 1u, params.capacity);
  let base = slots[row] * params.capacity;
  let queries = (row * ${heads}u + kvHead * ${perKv}u) * ${headDim}u;
  let out = ((row * params.splits + group.z) * ${heads}u + kvHead * ${perKv}u) * ${headDim + 2}u;
  let key = first + thread;
  ${range(perKv)
    .map((g) => `var s${g} = 0.0;`)
    .join(" ")}
  if (key < length) {
    let at = ((base + key) * ${kvHeads}u + kvHead) * ${headDim}u;
    for (var d = 0u; d < ${headDim}u; d++) {
      let k = keys[at + d];
      ${range(perKv)
        .map((g) => `s${g} = fma(q[queries + ${g * headDim}u + d], k, s${g});`)
        .join("\n      ")}
    }
    ${range(perKv)
      .map((g) => `scores[${g * split}u + thread] = s${g} * params.scale;`)
      .join(" ")}
  } else {
    ${range(perKv)
      .map((g) => `scores[${g * split}u + thread] = -3.0e38;`)
      .join(" ")}
  }
  workgroupBarrier();
  for (var g = thread; g < ${perKv}u; g += ${split}u) {
    var m = -3.0e38;
    for (var j = 0u; j < ${split}u; j++) { m = max(m, scores[g * ${split}u + j]); }
    var l = 0.0;
    for (var j = 0u; j < ${split}u && first + j < length; j++) {
      let p = exp(scores[g * ${split}u + j] - m);
      scores[g * ${split}u + j] = p;
      l += p;
    }
    partials[out + g * ${headDim + 2}u + ${headDim}u] = m;
    partials[out + g * ${headDim + 2}u + ${headDim + 1}u] = l;
  }
  workgroupBarrier();
  let count = min(${split}u, length - min(length, first));
  for (var d = thread; d < ${headDim}u; d += ${split}u) {
    ${range(perKv)
      .map((g) => `var o${g} = 0.0;`)
      .join(" ")}
    for (var j = 0u; j < count; j++) {
      let v = values[((base + first + j) * ${kvHeads}u + kvHead) * ${headDim}u + d];
      ${range(perKv)
        .map((g) => `o${g} = fma(scores[${g * split}u + j], v, o${g});`)
        .join("\n      ")}
    }
    ${range(perKv)
      .map((g) => `partials[out + ${g * (headDim + 2)}u + d] = o${g};`)
      .join("\n    ")}
  }
}
`;
};

/** What one compiled variant is specialised to. */
export interface DecodeCombineVariant {
  headDim: number;
  workgroup: number;
}

// decode_combine: o = the splits' sums, brought to one maximum and divided by the whole denominator
//
// Grid     one thread per element of o; a number of workgroups, folded over y
// Shapes   partials [rows, splits, heads, headDim + 2]   o [rows, heads * headDim]
// Writes   o by assignment
export const decodeCombine = ({ headDim, workgroup }: DecodeCombineVariant) => wgsl`
struct Params { count: u32, splits: u32, heads: u32 }

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read_write> o: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
  let d = i % ${headDim}u;
  let head = (i / ${headDim}u) % params.heads;
  let row = i / ${headDim}u / params.heads;
  var m = -3.0e38;
  for (var s = 0u; s < params.splits; s++) {
    m = max(m, partials[((row * params.splits + s) * params.heads + head) * ${headDim + 2}u + ${headDim}u]);
  }
  var sum = 0.0;
  var l = 0.0;
  for (var s = 0u; s < params.splits; s++) {
    let at = ((row * params.splits + s) * params.heads + head) * ${headDim + 2}u;
    let share = exp(partials[at + ${headDim}u] - m);
    sum += share * partials[at + d];
    l += share * partials[at + ${headDim + 1}u];
  }
  o[i] = sum / l;
}
`;
