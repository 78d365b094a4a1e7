import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

/** Compile-time parameters of a variant. */
interface RotaryVariant {
  /** elements of a head; a constant, so that finding the head needs no division */
  headDim: number;
  /** of these the first that turn, even */
  turned: number;
  /** four pairs a thread; headDim is then a multiple of 4, and turned of 8 */
  vector: boolean;
  /** rotate backwards: the transpose, which is the gradient */
  inverse: boolean;
  workgroup: number;
}

// rotary: for every pair (i, i + R/2) of a head's first R, (a, b) -> (a cos - b sin, b cos + a sin), for the first heads of each row
//
// Grid     threads along x for the pairs of a row's heads, rows along y and, beyond 65 535, z
// Shapes   x [rows, stride * D], of which `heads` heads turn   positions [rows]   table [P, R]: R/2 cos, then R/2 sin
// Writes   x in place; a thread owns its pairs
// Hazard   positions must be below P: nothing checks them here
// Source   Su et al. 2021, arXiv:2104.09864; half-split layout of Hugging Face's rotate_half
export const rotary = ({ headDim, turned, vector, inverse, workgroup }: RotaryVariant) => {
  const type = vector ? "vec4f" : "f32";
  const [size, half] = [headDim, turned / 2].map((n) => n / (vector ? 4 : 1));
  return wgsl`
struct Params { rows: u32, heads: u32, stride: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<${type}>;
@group(0) @binding(1) var<storage, read> positions: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<${type}>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.z * grid.y + group.y;
  let at = group.x * ${workgroup}u + thread;
  let head = at / ${half}u;
  let pair = at % ${half}u;
  if (row >= params.rows || head >= params.heads) { return; }
  let angle = positions[row] * ${2 * half}u + pair;
  let cosine = table[angle];
  let sine = ${inverse ? "-" : ""}table[angle + ${half}u];
  let first = (row * params.stride + head) * ${size}u + pair;
  let a = x[first];
  let b = x[first + ${half}u];
  x[first] = a * cosine - b * sine;
  x[first + ${half}u] = b * cosine + a * sine;
}
`;
};
