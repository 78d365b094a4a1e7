import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

/** What one compiled variant is specialised to. */
interface AdafactorVariant {
  workgroup: number;
}

/** Sums one value of each thread; every thread gets the sum. Its order depends on the workgroup's size alone. */
const groupSum = (workgroup: number) => `
var<workgroup> sums: array<f32, ${workgroup}>;
fn groupSum(value: f32, thread: u32) -> f32 {
  sums[thread] = value;
  workgroupBarrier();
  for (var width = ${workgroup / 2}u; width > 0u; width /= 2u) {
    if (thread < width) { sums[thread] += sums[thread + width]; }
    workgroupBarrier();
  }
  return sums[0];
}`;

const head = (workgroup: number) => `
@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {`;

const guard = "if ((bitcast<u32>(norm[0]) & 0x7f800000u) == 0x7f800000u) { return; }";

// adafactor_rows: row[r] = beta row[r] + (1 - beta) mean over c of (g^2 + eps)
//
// Grid     one workgroup for each row
// Shapes   grad [rows, columns]   row [rows]   norm [2]: the gradients' norm, and what to multiply them by
// Writes   row in place; nothing where the norm is not finite (as all kernels here)
export const adafactorRows = ({ workgroup }: AdafactorVariant) => wgsl`
struct Params { rows: u32, columns: u32, beta: f32, eps: f32 }

@group(0) @binding(0) var<storage, read> grad: array<f32>;
@group(0) @binding(1) var<storage, read_write> row: array<f32>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;
${groupSum(workgroup)}
${head(workgroup)}
  let r = group.y * grid.x + group.x;
  if (r >= params.rows) { return; }
  var sum = 0.0;
  for (var c = thread; c < params.columns; c += ${workgroup}u) {
    let g = grad[r * params.columns + c] * norm[1];
    sum += g * g + params.eps;
  }
  let mean = groupSum(sum, thread) / f32(params.columns);
  ${guard}
  if (thread == 0u) { row[r] = params.beta * row[r] + (1.0 - params.beta) * mean; }
}
`;

// adafactor_column_parts: parts[chunk, c] = sum of g^2 + eps over the rows of a chunk
//
// Grid     x threads over columns, y chunks of rows
// Shapes   grad [rows, columns]   parts [chunks, columns]
// Writes   parts by assignment, from chunk `first` on
export const adafactorColumnParts = ({ workgroup }: AdafactorVariant) => wgsl`
struct Params { rows: u32, columns: u32, chunk: u32, first: u32, eps: f32 }

@group(0) @binding(0) var<storage, read> grad: array<f32>;
@group(0) @binding(1) var<storage, read_write> parts: array<f32>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;
${head(workgroup)}
  let c = group.x * ${workgroup}u + thread;
  let start = group.y * params.chunk;
  if (c >= params.columns || start >= params.rows) { return; }
  let end = min(start + params.chunk, params.rows);
  var sum = 0.0;
  for (var r = start; r < end; r++) {
    let g = grad[r * params.columns + c] * norm[1];
    sum += g * g + params.eps;
  }
  parts[(params.first + group.y) * params.columns + c] = sum;
}
`;

// adafactor_columns: column[c] = beta column[c] + (1 - beta) sum over chunks of parts / rows
//
// Grid     one thread for each column
// Shapes   parts [chunks, columns]   column [columns]
// Writes   column in place
export const adafactorColumns = ({ workgroup }: AdafactorVariant) => wgsl`
struct Params { rows: u32, columns: u32, chunks: u32, beta: f32 }

@group(0) @binding(0) var<storage, read> parts: array<f32>;
@group(0) @binding(1) var<storage, read_write> column: array<f32>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;
${head(workgroup)}
  let c = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  ${guard}
  if (c >= params.columns) { return; }
  var sum = 0.0;
  for (var i = 0u; i < params.chunks; i++) { sum += parts[i * params.columns + c]; }
  column[c] = params.beta * column[c] + (1.0 - params.beta) * sum / f32(params.rows);
}
`;

// adafactor_mean: mean[0] = mean of row
//
// Grid     one workgroup
// Shapes   row [rows]   mean [1]
// Writes   mean by assignment
export const adafactorMean = ({ workgroup }: AdafactorVariant) => wgsl`
struct Params { rows: u32 }

@group(0) @binding(0) var<storage, read> row: array<f32>;
@group(0) @binding(1) var<storage, read_write> mean: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;
${groupSum(workgroup)}
${head(workgroup)}
  var sum = 0.0;
  for (var r = thread; r < params.rows; r += ${workgroup}u) { sum += row[r]; }
  let total = groupSum(sum, thread);
  if (thread == 0u) { mean[0] = total / f32(params.rows); }
}
`;

/** The update of element i before clipping, by factors or by a full second moment. */
const scaled = (factored: boolean) =>
  factored
    ? `fn scaled(i: u32) -> f32 {
  let r = i / params.columns;
  return grad[i] * norm[1] * inverseSqrt(row[r] / mean[0]) * inverseSqrt(column[i - r * params.columns]);
}`
    : "fn scaled(i: u32) -> f32 { return grad[i] * norm[1] * inverseSqrt(row[i]); }";

/** What one compiled variant is specialised to. */
interface AdafactorUpdateVariant extends AdafactorVariant {
  /** moments of rows and columns; else `row` has one for each element */
  factored: boolean;
}

// adafactor_full: v = beta v + (1 - beta) (g^2 + eps), for parameters that are no matrices
//
// Grid     one thread for each element
// Shapes   grad, v [n]
// Writes   v in place
export const adafactorFull = ({ workgroup }: AdafactorVariant) => wgsl`
struct Params { count: u32, beta: f32, eps: f32 }

@group(0) @binding(0) var<storage, read> grad: array<f32>;
@group(0) @binding(1) var<storage, read_write> v: array<f32>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;
${head(workgroup)}
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  ${guard}
  if (i >= params.count) { return; }
  let g = grad[i] * norm[1];
  v[i] = params.beta * v[i] + (1.0 - params.beta) * (g * g + params.eps);
}
`;

// adafactor_squares: squares[first + k] = sum of the squared updates of workgroup k
//
// Grid     `groups` workgroups, each striding over the elements
// Shapes   grad [count]   row, column, mean: as above   squares [groups of all parts]
// Writes   squares by assignment
export const adafactorSquares = ({ workgroup, factored }: AdafactorUpdateVariant) => wgsl`
struct Params { count: u32, columns: u32, groups: u32, first: u32 }

@group(0) @binding(0) var<storage, read> grad: array<f32>;
@group(0) @binding(1) var<storage, read> row: array<f32>;
@group(0) @binding(2) var<storage, read_write> squares: array<f32>;
@group(0) @binding(3) var<storage, read> norm: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;
#if ${factored}
@group(0) @binding(5) var<storage, read> column: array<f32>;
@group(0) @binding(6) var<storage, read> mean: array<f32>;
#endif
${scaled(factored)}
${groupSum(workgroup)}
${head(workgroup)}
  let which = group.y * grid.x + group.x;
  if (which >= params.groups) { return; }
  var sum = 0.0;
  for (var i = which * ${workgroup}u + thread; i < params.count; i += params.groups * ${workgroup}u) {
    let u = scaled(i);
    sum += u * u;
  }
  let total = groupSum(sum, thread);
  if (thread == 0u) { squares[params.first + which] = total; }
}
`;

// adafactor_apply: p = p (1 - lr decay) - lr u / max(1, rms(u) / threshold), with a threshold of 1
//
// Grid     one thread for each element; each workgroup sums the squares again
// Shapes   param, grad [count]   squares [groups]
// Writes   param in place
export const adafactorApply = ({ workgroup, factored }: AdafactorUpdateVariant) => wgsl`
struct Params { count: u32, columns: u32, groups: u32, total: f32, decay: f32, learningRate: f32 }

@group(0) @binding(0) var<storage, read_write> param: array<f32>;
@group(0) @binding(1) var<storage, read> grad: array<f32>;
@group(0) @binding(2) var<storage, read> row: array<f32>;
@group(0) @binding(3) var<storage, read> squares: array<f32>;
@group(0) @binding(4) var<storage, read> norm: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;
#if ${factored}
@group(0) @binding(6) var<storage, read> column: array<f32>;
@group(0) @binding(7) var<storage, read> mean: array<f32>;
#endif
${scaled(factored)}
${groupSum(workgroup)}
${head(workgroup)}
  var sum = 0.0;
  for (var k = thread; k < params.groups; k += ${workgroup}u) { sum += squares[k]; }
  let rms = sqrt(groupSum(sum, thread) / params.total);
  let i = (group.y * grid.x + group.x) * ${workgroup}u + thread;
  ${guard}
  if (i >= params.count) { return; }
  param[i] = param[i] * params.decay - params.learningRate * scaled(i) / max(1.0, rms);
}
`;
