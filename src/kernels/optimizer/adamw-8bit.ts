import { dequantize8bit as dequantizeShader, adamw8bit as shader } from "../../../shaders/optimizer/adamw-8bit.wgsl.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { sizeOf, type Tensor, view } from "../../gpu/tensor.ts";
import { BLOCK, dequantizeBlocks, quantizeBlocks } from "../../io/dynamic-map.ts";
import { part, ranges, sameShape, sameSize } from "../grid.ts";
import { type AdamWOptions, corrections } from "./adamw.ts";

export { BLOCK, dynamicMap } from "../../io/dynamic-map.ts";

/** Ranges begin at multiples of 64 blocks, where a view of n / 256 f32 is aligned. */
const ALIGN = 64 * BLOCK;

/** Parameters with their gradient, and moments in 8 bits; n is a multiple of 256, padded with zeros by the caller. */
interface AdamW8bitTensors {
  /** f32 `[n]` */
  param: Tensor;
  /** f32 `[n]` */
  grad: Tensor;
  /** codes of the first moment, u8 `[n]`; 127 is zero */
  exp_avg_q: Tensor;
  /** codes of the second moment, u8 `[n]`; 0 is zero */
  exp_avg_sq_q: Tensor;
  /** largest magnitude of each block of the first moment, f32 `[n / 256]`; 0 if the block is all zeros */
  absmax1: Tensor;
  /** the same for the second moment */
  absmax2: Tensor;
}

/**
 * One update of bitsandbytes' block-wise 8-bit AdamW, in place. All-zero tensors are a valid initial state.
 *
 * Moments are decoded, updated in f32, used, then stored as the nearest value of the dynamic map times their block's new
 * absmax: `p ← (p − lr·√(1−β₂ᵗ)/(1−β₁ᵗ) · m/(√v + ε√(1−β₂ᵗ)))·(1 − lr·wd)`. The gradient is multiplied by `norm[1]`. If
 * `norm[0]` is not finite, nothing changes.
 *
 * @param norm f32 `[2]` of `gradNorm`
 * @throws {ShapeError} `Cannot adamw_8bit param [894]: the number of elements must be a multiple of 256`
 * @see shaders/optimizer/adamw-8bit.wgsl.ts, adamw8bitReference, arXiv:2110.02861
 */
export function adamw8bit(record: Recorder, tensors: AdamW8bitTensors, norm: Tensor, options: AdamWOptions): void {
  const { param, grad, exp_avg_q, exp_avg_sq_q, absmax1, absmax2 } = tensors;
  const n = wholeBlocks("adamw_8bit", param);
  sameSize("adamw_8bit", param, grad, exp_avg_q, exp_avg_sq_q);
  sameShape("adamw_8bit", absmax1, [n / BLOCK]);
  sameShape("adamw_8bit", absmax2, [n / BLOCK]);
  sameShape("adamw_8bit", norm, [2]);
  const { correction1, correction2 } = corrections(options);
  const params = {
    decay: 1 - options.learning_rate * options.weight_decay,
    beta1: options.beta1,
    oneMinusBeta1: 1 - options.beta1,
    beta2: options.beta2,
    oneMinusBeta2: 1 - options.beta2,
    stepSize: (options.learning_rate * Math.sqrt(correction2)) / correction1,
    epsilon: options.epsilon * Math.sqrt(correction2),
  };
  for (const { start, count } of ranges(record, n, ALIGN)) {
    const blocks = count / BLOCK;
    const absmaxAt = (tensor: Tensor) => view(tensor, [blocks], start / BLOCK);
    record.dispatch(
      shader,
      {},
      {
        param: part(param, start, count),
        grad: part(grad, start, count),
        firstCodes: part(exp_avg_q, start, count),
        secondCodes: part(exp_avg_sq_q, start, count),
        absmax1: absmaxAt(absmax1),
        absmax2: absmaxAt(absmax2),
        norm,
      },
      { blocks, ...params },
      blocks,
    );
  }
}

/**
 * The values of 8-bit codes: `map[code] · absmax` of the block of 256.
 *
 * @param codes u8 `[n]`
 * @param absmax f32 `[n / 256]`
 * @param signed true: the first moment's map; false: the second's
 * @returns f32 `[n]`
 */
export function dequantize8bit(record: Recorder, codes: Tensor, absmax: Tensor, signed: boolean): Tensor {
  const n = wholeBlocks("dequantize_8bit", codes);
  sameShape("dequantize_8bit", absmax, [n / BLOCK]);
  const whole = record.empty(codes.shape, "f32", `${codes.label}.f32`);
  for (const { start, count } of ranges(record, n, ALIGN)) {
    const blocks = count / BLOCK;
    record.dispatch(
      dequantizeShader,
      { signed },
      {
        codes: part(codes, start, count),
        absmax: view(absmax, [blocks], start / BLOCK),
        x: part(whole, start, count),
      },
      { blocks },
      blocks,
    );
  }
  return whole;
}

function wholeBlocks(what: string, tensor: Tensor): number {
  const n = sizeOf(tensor.shape);
  if (n % BLOCK !== 0) {
    throw new ShapeError(
      `Cannot ${what} ${tensor.label} [${tensor.shape}]: the number of elements must be a multiple of ${BLOCK}`,
    );
  }
  return n;
}

/** Both moments as stored. */
export interface Moments8bit {
  codes1: Uint8Array;
  absmax1: ArrayLike<number>;
  codes2: Uint8Array;
  absmax2: ArrayLike<number>;
}

/** The same in float64 on the CPU: overwrites `param`, returns the moments before and after rounding to 8 bits. */
export function adamw8bitReference(
  param: Float64Array,
  grad: Float64Array,
  state: Moments8bit,
  scale: number,
  options: AdamWOptions,
): Moments8bit & { m: Float64Array; v: Float64Array } {
  const { learning_rate, beta1, beta2, epsilon, weight_decay } = options;
  const { correction1, correction2 } = corrections(options);
  const m = dequantizeBlocks(state.codes1, state.absmax1, true);
  const v = dequantizeBlocks(state.codes2, state.absmax2, false);
  const root = Math.sqrt(correction2);
  for (let i = 0; i < param.length; i++) {
    const g = grad[i] * scale;
    m[i] = beta1 * m[i] + (1 - beta1) * g;
    v[i] = beta2 * v[i] + (1 - beta2) * g * g;
    const step = ((learning_rate * root) / correction1) * (m[i] / (Math.sqrt(v[i]) + epsilon * root));
    param[i] = (param[i] - step) * (1 - learning_rate * weight_decay);
  }
  const [first, second] = [quantizeBlocks(m, true), quantizeBlocks(v, false)];
  return { codes1: first.codes, absmax1: first.absmax, codes2: second.codes, absmax2: second.absmax, m, v };
}
