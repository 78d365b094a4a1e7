import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

/** Compile-time parameters of a variant. */
interface DecodeStateVariant {
  /** rotary positions are others than positions in the cache */
  turned: boolean;
  workgroup: number;
}

// decode_state: the drawn token becomes the next token to feed; ended rows do not change
//
// Grid     one thread per row
// Shapes   drawn, tokens, positions [rows]   logp [rows]   ends [n]: ids that end a completion
//          angles [rows]: with `turned`, the rotary position
//          left [rows]: tokens that the row may still draw; 0 = ended   log [steps, rows, 2]: token, bits of its logp
// Writes   tokens, positions, angles and left in place; log at `step`, 0xffffffff for rows that ended before
export const decodeState = ({ turned, workgroup }: DecodeStateVariant) => wgsl`
struct Params { rows: u32, step: u32, ends: u32 }

@group(0) @binding(0) var<storage, read> drawn: array<u32>;
@group(0) @binding(1) var<storage, read> logp: array<f32>;
@group(0) @binding(2) var<storage, read> ends: array<u32>;
@group(0) @binding(3) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(4) var<storage, read_write> positions: array<u32>;
@group(0) @binding(5) var<storage, read_write> left: array<u32>;
@group(0) @binding(6) var<storage, read_write> log: array<vec2u>;
@group(0) @binding(7) var<uniform> params: Params;
#if ${turned}
@group(0) @binding(8) var<storage, read_write> angles: array<u32>;
#endif

@compute @workgroup_size(${workgroup})
fn main(@builtin(global_invocation_id) id: vec3u) {
  let row = id.x;
  if (row >= params.rows) { return; }
  let at = params.step * params.rows + row;
  if (left[row] == 0u) {
    log[at] = vec2u(0xffffffffu, 0u);
    return;
  }
  let token = drawn[row];
  log[at] = vec2u(token, bitcast<u32>(logp[row]));
  tokens[row] = token;
  positions[row] += 1u;
#if ${turned}
  angles[row] += 1u;
#endif
  left[row] -= 1u;
  for (var e = 0u; e < params.ends; e++) {
    if (ends[e] == token) { left[row] = 0u; }
  }
}
`;
