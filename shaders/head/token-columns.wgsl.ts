import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

/** Compile-time parameters of a variant. */
interface TokenColumnsVariant {
  /** put: columns replace logits; take: columns receive them, and zeros stay behind */
  way: "put" | "take";
  workgroup: number;
}

// token_columns: exchanges the logits of some tokens with columns of their own, for the tokens whose logits this shard holds
//
// Grid     one thread for each of rows * count, workgroups folded along y
// Shapes   ids [count], no id twice   columns [rows, count]   logits [rows, cols]: tokens start to start + cols
// Writes   put: logits of the shard's ids; take: their columns, and zeros in logits
export const tokenColumns = ({ way, workgroup }: TokenColumnsVariant) => wgsl`
struct Params { rows: u32, count: u32, cols: u32, start: u32 }

@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;
@group(0) @binding(2) var<storage, ${way === "put" ? "read" : "read_write"}> columns: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.rows * params.count) { return; }
  let id = ids[i % params.count];
  if (id < params.start || id - params.start >= params.cols) { return; }
  let at = (i / params.count) * params.cols + id - params.start;
#if ${way === "put"}
  logits[at] = columns[i];
#else
  columns[i] = logits[at];
  logits[at] = 0.0;
#endif
}
`;
