import {
  gradNormFinish as finishShader,
  gradNormPartial as partialShader,
} from "../../../shaders/optimizer/grad-norm.wgsl.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { sizeOf, type Tensor } from "../../gpu/tensor.ts";
import { lanes, part, ranges } from "../grid.ts";

const THREADS = 256;
/** Workgroups over one range: enough to fill a large GPU, few enough for one workgroup to add their sums. */
const GROUPS = 512;

/**
 * The Euclidean norm of all gradients together, and the factor that clips it to `maxNorm`.
 *
 * Deterministic: the order of the sum depends on the lengths alone. Records two stages and submits nothing.
 *
 * @param grads f32 tensors of any length; tensors above a binding's limit are read in parts
 * @param maxNorm `max_grad_norm`; 0 or less: no clipping
 * @returns f32 `[2]`: the norm before clipping, and `min(1, maxNorm / (norm + 1e-6))`. If a gradient is NaN or
 *   infinite, or the norm overflows f32, the first is NaN or infinite and the second 0: AdamW then changes nothing
 * @throws {ShapeError} no gradients, or a gradient that is not f32
 * @see shaders/optimizer/grad-norm.wgsl.ts, gradNormReference, torch.nn.utils.clip_grad_norm_
 */
export function gradNorm(record: Recorder, grads: readonly Tensor[], maxNorm: number): Tensor {
  const odd = grads.find((g) => g.dtype !== "f32");
  if (grads.length === 0 || odd) {
    throw new ShapeError(
      `Cannot compute the norm of ${odd ? `${odd.label} of dtype ${odd.dtype}` : "no gradients"}: it needs f32 gradients`,
    );
  }
  const parts = grads.flatMap((grad) =>
    ranges(record, sizeOf(grad.shape), 64).map(({ start, count }) => {
      const { vector, count: steps } = lanes(count);
      return { x: part(grad, start, count), vector, steps, groups: Math.min(GROUPS, Math.ceil(steps / THREADS / 4)) };
    }),
  );
  const count = parts.reduce((sum, p) => sum + p.groups, 0);
  const partials = record.empty([count], "f32", "grad_norm.partials", "scratch");
  const norm = record.empty([2], "f32", "grad_norm", "scratch");
  let slot = 0;
  for (const { x, vector, steps, groups } of parts) {
    const params = { count: steps, groups, slot };
    record.dispatch(partialShader, { vector, workgroup: THREADS }, { x, partials }, params, groups);
    slot += groups;
  }
  record.dispatch(finishShader, { workgroup: THREADS }, { partials, norm }, { count, maxNorm }, 1);
  record.release(partials);
  return norm;
}

/** The same in float64 on the CPU. */
export function gradNormReference(grads: readonly Float64Array[], maxNorm: number): [norm: number, scale: number] {
  let squares = 0;
  for (const grad of grads) for (const g of grad) squares += g * g;
  const norm = Math.sqrt(squares);
  if (!Number.isFinite(norm)) return [norm, 0];
  return [norm, maxNorm > 0 ? Math.min(1, maxNorm / (norm + 1e-6)) : 1];
}
