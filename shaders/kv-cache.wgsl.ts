import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

/** What one compiled variant is specialised to. */
export interface KvWriteVariant {
  /** threads of a workgroup */
  workgroup: number;
}

// kv_write: keys[to] = k[from], values[to] = v[from] for each pair of rows
//
// Grid     one thread per element and pair; a number of workgroups, folded over y
// Shapes   k, v [rows, width]   pairs [n, 2]: row of k and v, row of the cache   keys, values [slots * capacity, width]
// Writes   by assignment; no two pairs name the same row of the cache
export const kvWrite = ({ workgroup }: KvWriteVariant) => wgsl`
struct Params { count: u32, width: u32 }

@group(0) @binding(0) var<storage, read> k: array<f32>;
@group(0) @binding(1) var<storage, read> v: array<f32>;
@group(0) @binding(2) var<storage, read> pairs: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> keys: array<f32>;
@group(0) @binding(4) var<storage, read_write> values: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

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
  keys[pair.y * params.width + c] = k[pair.x * params.width + c];
  values[pair.y * params.width + c] = v[pair.x * params.width + c];
}
`;

/** What one compiled variant is specialised to. */
export interface KvAppendVariant {
  workgroup: number;
}

// kv_append: each row's new key and value go to its slot, at its position
//
// Grid     one thread per element; a number of workgroups, folded over y
// Shapes   k, v [rows, width]   slots, positions [rows]   keys, values [slots * capacity, width]
// Writes   by assignment; no two rows share a slot
export const kvAppend = ({ workgroup }: KvAppendVariant) => wgsl`
struct Params { count: u32, width: u32, capacity: u32 }

@group(0) @binding(0) var<storage, read> k: array<f32>;
@group(0) @binding(1) var<storage, read> v: array<f32>;
@group(0) @binding(2) var<storage, read> slots: array<u32>;
@group(0) @binding(3) var<storage, read> positions: array<u32>;
@group(0) @binding(4) var<storage, read_write> keys: array<f32>;
@group(0) @binding(5) var<storage, read_write> values: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
  let row = i / params.width;
  let to = (slots[row] * params.capacity + min(positions[row], params.capacity - 1u)) * params.width + i % params.width;
  keys[to] = k[i];
  values[to] = v[i];
}
`;
