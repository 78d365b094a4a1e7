import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { add } from "../../kernels/elementwise.ts";
import { rmsNorm, rmsNormBackward, rmsNormWeightBackward } from "../../kernels/norm/rms-norm.ts";

/** A tensor of a block, and where its gradient goes; null where it is frozen. */
export interface Weight {
  weight: Tensor;
  grad: Tensor | null;
}

/** An RMSNorm's scale. */
export interface Norm extends Weight {
  /** scales by 1 + weight */
  zeroCentered: boolean;
}

/** The input of a body: the residual stream up to there, and the same normed. */
export interface Normed {
  /** x + delta, or x if there is no delta */
  sum: Tensor;
  /** the body's input; `sum` if there is no norm */
  y: Tensor;
  /** null if there is no norm */
  rstd: Tensor | null;
}

/** Adds a branch to the residual stream and norms the sum. */
export function addAndNorm(record: Recorder, norm: Norm | null, eps: number, x: Tensor, delta: Tensor | null): Normed {
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
  if (norm.grad) rmsNormWeightBackward(record, sum, rstd!, dy, norm.grad);
  rmsNormBackward(record, sum, norm, rstd!, dy, { into: g });
}
