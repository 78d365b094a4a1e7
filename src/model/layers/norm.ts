import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { add, biasBackward } from "../../kernels/elementwise.ts";
import { layerNorm, layerNormBackward, layerNormWeightBackward } from "../../kernels/norm/layer-norm.ts";
import { rmsNorm, rmsNormBackward, rmsNormWeightBackward } from "../../kernels/norm/rms-norm.ts";

/** A tensor of a block, and where its gradient goes; null where it is frozen. */
export interface Weight {
  weight: Tensor;
  grad: Tensor | null;
}

/** The scale of an RMSNorm, or of a LayerNorm. */
export interface Norm extends Weight {
  /** scales by 1 + weight */
  zeroCentered: boolean;
  /** of a LayerNorm; absent: an RMSNorm */
  bias?: Weight;
}

/** The input of a body: the residual stream up to there, and the same normed. */
export interface Normed {
  /** x + delta, or x if there is no delta */
  sum: Tensor;
  /** the body's input; `sum` if there is no norm */
  y: Tensor;
  /** of each row; with a LayerNorm [rows, 2], mean and rstd; null if there is no norm */
  rstd: Tensor | null;
}

/** Adds a branch to the residual stream and norms the sum. */
export function addAndNorm(record: Recorder, norm: Norm | null, eps: number, x: Tensor, delta: Tensor | null): Normed {
  if (norm?.bias) {
    const { y, sum, stats } = layerNorm(record, x, { weight: norm.weight, bias: norm.bias.weight }, eps, delta);
    return { y, sum, rstd: stats };
  }
  if (norm) return rmsNorm(record, x, norm, eps, delta);
  const sum = delta ? addition(record, x, delta) : x;
  return { sum, y: sum, rstd: null };
}

/** x + delta in a new tensor. */
function addition(record: Recorder, x: Tensor, delta: Tensor): Tensor {
  const sum = record.empty(x.shape, "f32", `${x.label}.sum`);
  record.copy(x, sum);
  add(record, sum, delta);
  return sum;
}

/** Adds the gradient of a body's input to the stream's gradient `g`, in place. */
export function normBackward(record: Recorder, norm: Norm | null, { sum, rstd }: Normed, dy: Tensor, g: Tensor): void {
  if (!norm) {
    add(record, g, dy);
    return;
  }
  if (norm.bias) {
    layerNormGradients(record, norm, { sum, rstd }, dy);
    layerNormBackward(record, sum, norm, rstd!, dy, g);
    return;
  }
  if (norm.grad) rmsNormWeightBackward(record, sum, rstd!, dy, norm.grad);
  rmsNormBackward(record, sum, norm, rstd!, dy, { into: g });
}

/** Adds the gradients of a LayerNorm's scale and bias, where they are trained. */
export function layerNormGradients(
  record: Recorder,
  { grad, bias }: Norm,
  { sum, rstd }: Pick<Normed, "sum" | "rstd">,
  dy: Tensor,
): void {
  if (grad) layerNormWeightBackward(record, sum, rstd!, dy, grad);
  if (bias?.grad) biasBackward(record, dy, bias.grad);
}

/** The same norm, frozen. */
export function frozenNorm(norm: Norm): Norm {
  return { ...norm, grad: null, ...(norm.bias && { bias: { ...norm.bias, grad: null } }) };
}
