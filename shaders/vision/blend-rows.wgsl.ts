import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { loadFunctions, type Stored, storedType } from "../lib/load.ts";

/** Compile-time parameters of a variant. */
interface BlendRowsVariant {
  /** how x is stored */
  stored: Stored;
  workgroup: number;
}

// blend_rows: y[r] += sum over the row's entries e of factors[e] * x[sources[e]]: a sparse matrix times a table
//
// Grid     threads along x for the columns, rows along y and, beyond 65 535, z
// Shapes   x [., width]   y [rows, width]   starts [rows + 1]: the first entry of each row, then their number
//          sources, factors [entries]
// Writes   y by +=; a thread owns its element, so that sums are deterministic
// Hazard   sources must be below the number of rows of x: nothing checks them here
export const blendRows = ({ stored, workgroup }: BlendRowsVariant) => wgsl`
#if ${stored === "f16"}
enable f16;
#endif
struct Params { rows: u32, width: u32 }

@group(0) @binding(0) var<storage, read> x: array<${storedType(stored, false)}>;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read> sources: array<u32>;
@group(0) @binding(3) var<storage, read> factors: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;
${loadFunctions("x", stored, false)}

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.z * grid.y + group.y;
  let c = group.x * ${workgroup}u + thread;
  if (row >= params.rows || c >= params.width) { return; }
  var sum = 0.0;
  let end = starts[row + 1u];
  for (var e = starts[row]; e < end; e++) { sum += factors[e] * xAt1(sources[e] * params.width + c); }
  y[row * params.width + c] += sum;
}
`;
