import { lion as shader } from "../../../shaders/optimizer/lion.wgsl.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { sizeOf, type Tensor } from "../../gpu/tensor.ts";
import { lanes, part, ranges, sameShape, sameSize, threadGrid, WORKGROUP } from "../grid.ts";
import { type AdamWOptions, ALIGN } from "./adamw.ts";

/** What Lion reads of the settings of an update. */
type LionOptions = Pick<AdamWOptions, "learning_rate" | "beta1" | "beta2" | "weight_decay">;

/** Parameters with their gradient and moment, f32, all of n elements. */
interface LionTensors {
  param: Tensor;
  grad: Tensor;
  exp_avg: Tensor;
}

/**
 * One update of Lion, in place: `p ← p·(1 − lr·wd) − lr·sign(β₁m + (1−β₁)g)`, `m ← β₂m + (1−β₂)g`, where g is the gradient
 * times `norm[1]`. Where `norm[0]` is not finite, parameters and moment stay as they are.
 *
 * @param norm f32 `[2]` of `gradNorm`
 * @throws {ShapeError} lengths that differ
 * @see shaders/optimizer/lion.wgsl.ts, lionReference, arXiv:2302.06675, bitsandbytes' Lion
 */
export function lion(record: Recorder, tensors: LionTensors, norm: Tensor, options: LionOptions): void {
  const { param, grad, exp_avg } = tensors;
  sameSize("lion", param, grad, exp_avg);
  sameShape("lion", norm, [2]);
  const { learning_rate, beta1, beta2, weight_decay } = options;
  const params = {
    decay: 1 - learning_rate * weight_decay,
    beta1,
    oneMinusBeta1: 1 - beta1,
    beta2,
    oneMinusBeta2: 1 - beta2,
    learningRate: learning_rate,
  };
  for (const { start, count: length } of ranges(record, sizeOf(param.shape), ALIGN)) {
    const { vector, count } = lanes(length);
    const at = (tensor: Tensor) => part(tensor, start, length);
    record.dispatch(
      shader,
      { vector, workgroup: WORKGROUP },
      { param: at(param), grad: at(grad), m: at(exp_avg), norm },
      { count, ...params },
      threadGrid(count),
    );
  }
}

/** The same in float64 on the CPU, on arrays that it overwrites; `scale` multiplies the gradient. */
export function lionReference(
  param: Float64Array,
  grad: Float64Array,
  m: Float64Array,
  scale: number,
  { learning_rate, beta1, beta2, weight_decay }: LionOptions,
): void {
  for (let i = 0; i < param.length; i++) {
    const g = grad[i] * scale;
    const step = Math.sign(beta1 * m[i] + (1 - beta1) * g);
    param[i] = param[i] * (1 - learning_rate * weight_decay) - learning_rate * step;
    m[i] = beta2 * m[i] + (1 - beta2) * g;
  }
}
