import { adamw as shader } from "../../../shaders/optimizer/adamw.wgsl.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { sizeOf, type Tensor } from "../../gpu/tensor.ts";
import { lanes, part, ranges, sameShape, sameSize, threadGrid, WORKGROUP } from "../grid.ts";

/** WebGPU's default alignment of views, 256 bytes, in f32 elements. */
export const ALIGN = 64;

/** Settings of one update, by torch's names. */
export interface AdamWOptions {
  learning_rate: number;
  /** decay of the first moment */
  beta1: number;
  /** decay of the second moment */
  beta2: number;
  epsilon: number;
  /** decoupled weight decay, multiplied by the learning rate; 0 for biases and norms */
  weight_decay: number;
  /** number of this update, from 1 */
  step: number;
}

/** Parameters with their gradient and moments, f32, all of n elements. */
interface AdamWTensors {
  param: Tensor;
  grad: Tensor;
  exp_avg: Tensor;
  exp_avg_sq: Tensor;
}

/**
 * One update of AdamW, in place.
 *
 * `p ← p·(1 − lr·wd)`, `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`, `p ← p − lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε)`, where g is
 * the gradient times `norm[1]`. If `norm[0]` is not finite, parameters and moments do not change.
 *
 * @param tensors f32, n elements each; tensors above a binding's limit are updated in parts
 * @param norm f32 `[2]` of `gradNorm`
 * @throws {ShapeError} lengths that differ, or a step below 1
 * @see shaders/optimizer/adamw.wgsl.ts, adamwReference, torch.optim.AdamW, arXiv:1711.05101
 */
export function adamw(record: Recorder, tensors: AdamWTensors, norm: Tensor, options: AdamWOptions): void {
  const { param, grad, exp_avg, exp_avg_sq } = tensors;
  sameSize("adamw", param, grad, exp_avg, exp_avg_sq);
  sameShape("adamw", norm, [2]);
  const { correction1, correction2 } = corrections(options);
  const params = {
    decay: 1 - options.learning_rate * options.weight_decay,
    oneMinusBeta1: 1 - options.beta1,
    beta2: options.beta2,
    oneMinusBeta2: 1 - options.beta2,
    stepSize: options.learning_rate / correction1,
    root: Math.sqrt(correction2),
    epsilon: options.epsilon,
  };
  for (const { start, count: length } of ranges(record, sizeOf(param.shape), ALIGN)) {
    const { vector, count } = lanes(length);
    const at = (tensor: Tensor) => part(tensor, start, length);
    record.dispatch(
      shader,
      { vector, workgroup: WORKGROUP },
      { param: at(param), grad: at(grad), m: at(exp_avg), v: at(exp_avg_sq), norm },
      { count, ...params },
      threadGrid(count),
    );
  }
}

/** `1 − β₁ᵗ` and `1 − β₂ᵗ`, in double. @throws {ShapeError} a step that is not a whole number from 1 */
export function corrections({ beta1, beta2, step }: AdamWOptions): { correction1: number; correction2: number } {
  if (!Number.isInteger(step) || step < 1) throw new ShapeError(`Cannot run adamw at step ${step}: steps count from 1`);
  return { correction1: 1 - beta1 ** step, correction2: 1 - beta2 ** step };
}

/** The same in float64 on the CPU, on arrays that it overwrites; `scale` multiplies the gradient. */
export function adamwReference(
  param: Float64Array,
  grad: Float64Array,
  m: Float64Array,
  v: Float64Array,
  scale: number,
  options: AdamWOptions,
): void {
  const { learning_rate, beta1, beta2, epsilon, weight_decay } = options;
  const { correction1, correction2 } = corrections(options);
  for (let i = 0; i < param.length; i++) {
    const g = grad[i] * scale;
    m[i] = beta1 * m[i] + (1 - beta1) * g;
    v[i] = beta2 * v[i] + (1 - beta2) * g * g;
    const denominator = Math.sqrt(v[i]) / Math.sqrt(correction2) + epsilon;
    param[i] = param[i] * (1 - learning_rate * weight_decay) - (learning_rate / correction1) * (m[i] / denominator);
  }
}
