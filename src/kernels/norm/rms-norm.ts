import {
  rmsNormBackward as backwardShader,
  rmsNorm as shader,
  rmsNormWeightBackward as weightShader,
} from "../../../shaders/norm/rms-norm.wgsl.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { rowThreads, WORKGROUP } from "../grid.ts";
import { stored } from "../matmul/stored.ts";

/** Treats heads of a packed row as rows, such as the query heads in a row of q, k and v. */
interface HeadRows {
  /** total heads of a packed row, and the first and number of the heads to use */
  per: number;
  first: number;
  take: number;
  /** of these every `step`-th; default 1 */
  step?: number;
  /** where they lie in rows of y and dy; default: where they lie in x */
  made?: { per: number; first: number };
}

/** A norm's scale `[cols]`, f32, f16 or bf16. */
export interface NormScale {
  weight: Tensor;
  /** scales by 1 + weight */
  zeroCentered?: boolean;
}

/** Params of rows that are heads, or of rows that are not. */
function headParams(heads: HeadRows | null) {
  const { per, first, take, step = 1, made } = heads ?? { per: 1, first: 0, take: 1 };
  return { per, first, take, apart: step, madePer: made?.per ?? per, madeFirst: made?.first ?? first };
}

/**
 * Scales each row of `x` to unit root mean square, then by `weight`.
 *
 * `y[r,c] = x[r,c] · rstd[r] · weight[c]`, `rstd[r] = 1 / √(mean_c x[r,c]² + eps)`. Records one dispatch and submits nothing.
 *
 * @param x activations `[rows, cols]` f32
 * @param scale `weight`, or 1 + weight
 * @param eps added to the mean square, dimensionless; `rms_norm_eps` of config.json
 * @param delta residual branch `[rows, cols]` f32 that is added first, or null
 * @returns `y`, shaped like `x`; `rstd` `[rows]` f32; `sum`, which is x + delta in a tensor of its own, or x itself
 * @param heads rows are heads: x `[tokens, per · head_dim]`, `into` alike or as `made` says, whose other heads are left as they are
 * @throws {ShapeError} `Cannot rms_norm x [32,894] by weight [896]: last dimensions must match`
 * @see shaders/norm/rms-norm.wgsl.ts, rmsNormReference, arXiv:1910.07467
 */
export function rmsNorm(
  record: Recorder,
  x: Tensor,
  scale: NormScale,
  eps: number,
  delta: Tensor | null = null,
  heads: { rows: HeadRows; into: Tensor } | null = null,
): { y: Tensor; rstd: Tensor; sum: Tensor } {
  const { weight, zeroCentered = false } = scale;
  const cols = heads ? x.shape[1] / heads.rows.per : x.shape[1];
  const rows = heads ? x.shape[0] * heads.rows.take : x.shape[0];
  if (weight.shape[0] !== cols) {
    throw new ShapeError(`Cannot rms_norm x [${x.shape}] by weight [${weight.shape}]: last dimensions must match`);
  }
  const y = heads?.into ?? record.empty(x.shape, "f32", `${x.label}.normed`);
  const rstd = record.empty([rows], "f32", `${x.label}.rstd`);
  const how = { zeroCentered, residual: delta !== null, heads: heads !== null, vector: cols % 4 === 0 };
  const variant = { weight: stored(weight), ...how, workgroup: rowThreads(record.gpu) };
  const sum = delta ? record.empty(x.shape, "f32", `${x.label}.sum`) : x;
  const params = { rows, cols, eps, ...headParams(heads?.rows ?? null) };
  record.dispatch(shader, variant, { x, weight, y, rstd, ...(delta && { delta, sum }) }, params, rows);
  return { y, rstd, sum };
}

/**
 * Gradient of `rmsNorm` for its input: `dx[r,c] = rstd·(dy·weight − x·rstd²·mean_c(dy·weight·x))`.
 *
 * @param x input of the norm `[rows, cols]` f32: the forward pass's `sum`
 * @param options.into `[rows, cols]` that already holds the residual's gradient; dx is added. Default: a new tensor
 * @param options.heads rows are heads of x and dy, as in `rmsNorm`; dy itself becomes dx
 * @returns dx, shaped like x
 */
export function rmsNormBackward(
  record: Recorder,
  x: Tensor,
  { weight, zeroCentered = false }: NormScale,
  rstd: Tensor,
  dy: Tensor,
  { into = null, heads = null }: { into?: Tensor | null; heads?: HeadRows | null } = {},
): Tensor {
  const cols = x.shape[1] / (heads?.per ?? 1);
  const rows = x.shape[0] * (heads?.take ?? 1);
  const width = heads?.made ? cols * heads.made.per : x.shape[1];
  if (dy.shape[0] !== x.shape[0] || dy.shape[1] !== width || weight.shape[0] !== cols) {
    throw new ShapeError(
      `Cannot rms_norm_backward x [${x.shape}], dy [${dy.shape}], weight [${weight.shape}]: shapes must match`,
    );
  }
  const dx = heads ? dy : (into ?? record.empty(x.shape, "f32", `d.${x.label}`));
  const how = heads ? "dy" : into ? "add" : "write";
  const variant = {
    weight: stored(weight),
    zeroCentered,
    into: how,
    heads: heads !== null,
    vector: cols % 4 === 0,
    workgroup: rowThreads(record.gpu),
  } as const;
  const bindings = { x, weight, rstd, dy, ...(!heads && { dx }) };
  record.dispatch(backwardShader, variant, bindings, { rows, cols, ...headParams(heads) }, rows);
  return dx;
}

/** Adds the gradient of the scale to `dweight` `[cols]`: `Σ_r dy·x·rstd`. Full training only. */
export function rmsNormWeightBackward(
  record: Recorder,
  x: Tensor,
  rstd: Tensor,
  dy: Tensor,
  dweight: Tensor,
  heads: HeadRows | null = null,
): void {
  const cols = dweight.shape[0];
  const rows = x.shape[0] * (heads?.take ?? 1);
  const variant = { heads: heads !== null, workgroup: WORKGROUP };
  const params = { rows, cols, ...headParams(heads) };
  record.dispatch(weightShader, variant, { x, rstd, dy, dweight }, params, Math.ceil(cols / WORKGROUP));
}

/** The same in float64 on the CPU: the reference of the tests and of the self-test on a user's GPU. */
export function rmsNormReference(x: Float64Array, weight: Float64Array, eps: number): Float64Array {
  const cols = weight.length;
  const y = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += cols) {
    const rstd = rowScale(x, start, cols, eps);
    for (let c = 0; c < cols; c++) y[start + c] = x[start + c] * rstd * weight[c];
  }
  return y;
}

/** Gradients of `Σ dy·rmsNorm(x)` for x and weight, in float64. */
export function rmsNormBackwardReference(
  x: Float64Array,
  weight: Float64Array,
  eps: number,
  dy: Float64Array,
): { dx: Float64Array; dweight: Float64Array } {
  const cols = weight.length;
  const dx = new Float64Array(x.length);
  const dweight = new Float64Array(cols);
  for (let start = 0; start < x.length; start += cols) {
    const rstd = rowScale(x, start, cols, eps);
    let mean = 0;
    for (let c = 0; c < cols; c++) mean += (dy[start + c] * weight[c] * x[start + c]) / cols;
    for (let c = 0; c < cols; c++) {
      dx[start + c] = rstd * (dy[start + c] * weight[c] - x[start + c] * rstd * rstd * mean);
      dweight[c] += dy[start + c] * x[start + c] * rstd;
    }
  }
  return { dx, dweight };
}

function rowScale(x: Float64Array, start: number, cols: number, eps: number): number {
  let squares = 0;
  for (let c = 0; c < cols; c++) squares += x[start + c] ** 2;
  return 1 / Math.sqrt(squares / cols + eps);
}
