import { sgd as shader } from "../../../shaders/optimizer/sgd.wgsl.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { sizeOf, type Tensor } from "../../gpu/tensor.ts";
import { lanes, part, ranges, sameShape, sameSize, threadGrid, WORKGROUP } from "../grid.ts";
import { type AdamWOptions, ALIGN } from "./adamw.ts";

/** What plain gradient descent reads of the settings of an update. */
type SgdOptions = Pick<AdamWOptions, "learning_rate" | "weight_decay">;

/**
 * One update of gradient descent without momentum, in place: `p ← p − lr·(g + wd·p)`, where g is the gradient times
 * `norm[1]`. Where `norm[0]` is not finite, parameters stay as they are.
 *
 * @param tensors f32, n elements each
 * @param norm f32 `[2]` of `gradNorm`
 * @throws {ShapeError} lengths that differ
 * @see shaders/optimizer/sgd.wgsl.ts, sgdReference, torch.optim.SGD
 */
export function sgd(
  record: Recorder,
  { param, grad }: { param: Tensor; grad: Tensor },
  norm: Tensor,
  { learning_rate, weight_decay }: SgdOptions,
): void {
  sameSize("sgd", param, grad);
  sameShape("sgd", norm, [2]);
  for (const { start, count: length } of ranges(record, sizeOf(param.shape), ALIGN)) {
    const { vector, count } = lanes(length);
    record.dispatch(
      shader,
      { vector, workgroup: WORKGROUP },
      { param: part(param, start, length), grad: part(grad, start, length), norm },
      { count, learningRate: learning_rate, weightDecay: weight_decay },
      threadGrid(count),
    );
  }
}

/** The same in float64 on the CPU, on an array that it overwrites; `scale` multiplies the gradient. */
export function sgdReference(
  param: Float64Array,
  grad: Float64Array,
  scale: number,
  { learning_rate, weight_decay }: SgdOptions,
): void {
  for (let i = 0; i < param.length; i++) param[i] -= learning_rate * (grad[i] * scale + weight_decay * param[i]);
}
