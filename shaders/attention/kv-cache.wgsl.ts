import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

import { NARROW } from "../lib/load.ts";

/** Compile-time parameters of a variant. */
interface KvWriteVariant {
  /** how keys and values are stored; bf16: two to a word, and a thread writes a word */
  cache: "f32" | "bf16";
  /** threads per workgroup */
  workgroup: number;
}

// kv_write: keys[to] = k[from], values[to] = v[from] for each pair of rows
//
// Grid     one thread per element (bf16: per word) and pair; a number of workgroups, folded over y
// Shapes   qkv [rows, stride]: keys from keyAt on, then values   pairs [n, 2]: row of qkv, row of the cache
//          keys, values [slots * capacity, width words]
// Writes   by assignment; no two pairs have the same row of the cache
export const kvWrite = ({ cache, workgroup }: KvWriteVariant) => wgsl`
struct Params { count: u32, width: u32, stride: u32, keyAt: u32 }

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> pairs: array<vec2u>;
@group(0) @binding(2) var<storage, read_write> keys: array<${cache === "bf16" ? "u32" : "f32"}>;
@group(0) @binding(3) var<storage, read_write> values: array<${cache === "bf16" ? "u32" : "f32"}>;
@group(0) @binding(4) var<uniform> params: Params;
${cache === "bf16" ? NARROW : ""}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
  let pair = pairs[i / params.width];
  let c = i % params.width;
#if ${cache === "bf16"}
  let key = pair.x * params.stride + params.keyAt + 2u * c;
  let value = key + 2u * params.width;
  keys[pair.y * params.width + c] = narrow(qkv[key], qkv[key + 1u]);
  values[pair.y * params.width + c] = narrow(qkv[value], qkv[value + 1u]);
#else
  let key = pair.x * params.stride + params.keyAt + c;
  keys[pair.y * params.width + c] = qkv[key];
  values[pair.y * params.width + c] = qkv[key + params.width];
#endif
}
`;
