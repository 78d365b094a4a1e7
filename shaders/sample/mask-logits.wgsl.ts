import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

/**
 * Logit of a token that must not be drawn: its probability is 0 in f32 beside any other, and it stays finite when a temperature
 * divides it.
 */
export const MASKED = -1e30;

/** Compile-time parameters of a variant. */
interface MaskLogitsVariant {
  workgroup: number;
}

// mask_logits: replaces the logits of tokens that are not allowed
//
// Grid     one thread for each logit, workgroups folded along y
// Shapes   allowed [rows, words] bits, lowest first   logits [rows, cols]: tokens start to start + cols
// Writes   logits in place, only those of tokens that are not allowed
export const maskLogits = ({ workgroup }: MaskLogitsVariant) => wgsl`
struct Params { rows: u32, cols: u32, start: u32, words: u32 }

@group(0) @binding(0) var<storage, read> allowed: array<u32>;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.rows * params.cols) { return; }
  let row = i / params.cols;
  let token = params.start + i % params.cols;
  if (((allowed[row * params.words + token / 32u] >> (token & 31u)) & 1u) == 0u) { logits[i] = ${MASKED}; }
}
`;
