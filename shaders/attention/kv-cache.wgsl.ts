import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

/** Compile-time parameters of a variant. */
interface KvWriteVariant {
  /** threads per workgroup */
  workgroup: number;
}

// kv_write: keys[to] = k[from], values[to] = v[from] for each pair of rows
//
// Grid     one thread per element and pair; a number of workgroups, folded over y
// Shapes   qkv [rows, stride]: keys from keyAt on, then values   pairs [n, 2]: row of qkv, row of the cache
//          keys, values [slots * capacity, width]
// Writes   by assignment; no two pairs have the same row of the cache
export const kvWrite = ({ workgroup }: KvWriteVariant) => wgsl`
struct Params { count: u32, width: u32, stride: u32, keyAt: u32 }

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> pairs: array<vec2u>;
@group(0) @binding(2) var<storage, read_write> keys: array<f32>;
@group(0) @binding(3) var<storage, read_write> values: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

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
  let key = pair.x * params.stride + params.keyAt + c;
  keys[pair.y * params.width + c] = qkv[key];
  values[pair.y * params.width + c] = qkv[key + params.width];
}
`;
