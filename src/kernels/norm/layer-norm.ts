import {
  layerNormBackward as backwardShader,
  layerNorm as shader,
  layerNormWeightBackward as weightShader,
} from "../../../shaders/norm/layer-norm.wgsl.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { rowThreads, sameShape, WORKGROUP } from "../grid.ts";
import { stored } from "../matmul/stored.ts";

/** A LayerNorm's scale and bias `[cols]`, each f32, f16 or bf16. */
interface LayerNormScale {
  weight: Tensor;
  bias: Tensor;
}

/**
 * Shifts and scales each row of `x` to mean 0 and variance 1, then by `weight` and `bias`.
 *
 * `y[r,c] = (x[r,c] − mean[r]) · rstd[r] · weight[c] + bias[c]`. Records one dispatch and submits nothing.
 *
 * @param x activations `[rows, cols]` f32
 * @param eps added to the variance, dimensionless
 * @param delta residual branch `[rows, cols]` f32 that is added first, or null
 * @returns `y`, shaped like `x`; `stats` `[rows, 2]` f32: mean, rstd; `sum`, which is x + delta in a tensor of its own, or x itself
 * @throws {ShapeError} `Cannot layer_norm x [32,894] by weight [896] and bias [896]: last dimensions must match`
 * @see shaders/norm/layer-norm.wgsl.ts, layerNormReference, arXiv:1607.06450
 */
export function layerNorm(
  record: Recorder,
  x: Tensor,
  { weight, bias }: LayerNormScale,
  eps: number,
  delta: Tensor | null = null,
): { y: Tensor; stats: Tensor; sum: Tensor } {
  const [rows, cols] = x.shape;
  if (weight.shape[0] !== cols || bias.shape[0] !== cols) {
    throw new ShapeError(
      `Cannot layer_norm ${x.label} [${x.shape}] by weight [${weight.shape}] and bias [${bias.shape}]: last dimensions must match`,
    );
  }
  if (delta) sameShape("layer_norm", delta, x.shape);
  const y = record.empty(x.shape, "f32", `${x.label}.normed`);
  const stats = record.empty([rows, 2], "f32", `${x.label}.stats`);
  const sum = delta ? record.empty(x.shape, "f32", `${x.label}.sum`) : x;
  const variant = {
    weight: stored(weight),
    bias: stored(bias),
    residual: delta !== null,
    workgroup: rowThreads(record.gpu),
  };
  const bindings = { x, weight, bias, y, stats, ...(delta && { delta, sum }) };
  record.dispatch(shader, variant, bindings, { rows, cols, eps }, rows);
  return { y, stats, sum };
}

/**
 * Gradient of `layerNorm` for its input.
 *
 * @param x input of the norm `[rows, cols]` f32: the forward pass's `sum`
 * @param into `[rows, cols]` that already holds the residual's gradient; dx is added. Default: a new tensor
 * @returns dx, shaped like x
 */
export function layerNormBackward(
  record: Recorder,
  x: Tensor,
  { weight }: Pick<LayerNormScale, "weight">,
  stats: Tensor,
  dy: Tensor,
  into: Tensor | null = null,
): Tensor {
  const [rows, cols] = x.shape;
  sameShape("layer_norm backwards", dy, x.shape);
  sameShape("layer_norm backwards", weight, [cols]);
  const dx = into ?? record.empty(x.shape, "f32", `d.${x.label}`);
  const variant = { weight: stored(weight), accumulate: into !== null, workgroup: rowThreads(record.gpu) };
  record.dispatch(backwardShader, variant, { x, weight, stats, dy, dx }, { rows, cols }, rows);
  return dx;
}

/** Adds the gradient of the scale to `dweight` `[cols]`: `Σ_r dy·(x − mean)·rstd`. Full training only. */
export function layerNormWeightBackward(record: Recorder, x: Tensor, stats: Tensor, dy: Tensor, dweight: Tensor): void {
  const [rows, cols] = x.shape;
  const grid = Math.ceil(cols / WORKGROUP);
  record.dispatch(weightShader, { workgroup: WORKGROUP }, { x, stats, dy, dweight }, { rows, cols }, grid);
}

/** The same in float64 on the CPU, with gradients of `Σ dy·y`. */
export function layerNormReference(
  x: Float64Array,
  weight: Float64Array,
  bias: Float64Array,
  eps: number,
  dy: Float64Array = new Float64Array(x.length),
) {
  const cols = weight.length;
  const [y, dx] = [new Float64Array(x.length), new Float64Array(x.length)];
  const dweight = new Float64Array(cols);
  const mean = (of: (c: number) => number) => {
    let sum = 0;
    for (let c = 0; c < cols; c++) sum += of(c);
    return sum / cols;
  };
  for (let start = 0; start < x.length; start += cols) {
    const middle = mean((c) => x[start + c]);
    const rstd = 1 / Math.sqrt(mean((c) => (x[start + c] - middle) ** 2) + eps);
    const n = (c: number) => (x[start + c] - middle) * rstd;
    const plain = mean((c) => dy[start + c] * weight[c]);
    const along = mean((c) => dy[start + c] * weight[c] * n(c));
    for (let c = 0; c < cols; c++) {
      y[start + c] = n(c) * weight[c] + bias[c];
      dx[start + c] = rstd * (dy[start + c] * weight[c] - plain - n(c) * along);
      dweight[c] += dy[start + c] * n(c);
    }
  }
  return { y, dx, dweight };
}
