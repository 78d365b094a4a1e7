/** What one compiled variant is specialised to. */
interface MatmulSplitsVariant {
  accumulate: boolean;
  workgroup: number;
}

// matmul_splits: c = alpha * (sum over the parts of a split sum) [+ c]
//
// Grid     threads for the outputs, folded over x and y
// Shapes   partial [splits, m, n], m * n = count   c at (rowStride, colStride) from cAt
// Writes   c by assignment, or += with `accumulate`
// Numbers  parts are added in their order, which depends on the product's sizes alone
export const matmulSplits = ({ accumulate, workgroup }: MatmulSplitsVariant) => `
struct Params { count: u32, splits: u32, n: u32, rowStride: u32, colStride: u32, cAt: u32, alpha: f32 }

@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read_write> c: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  if (i >= params.count) { return; }
  var sum = 0.0;
  for (var s = 0u; s < params.splits; s++) { sum += partial[s * params.count + i]; }
  let at = params.cAt + i / params.n * params.rowStride + i % params.n * params.colStride;
  c[at] = ${accumulate ? "c[at] + " : ""}params.alpha * sum;
}
`;
