import { MASKED, maskLogits as maskShader } from "../../../shaders/sample/mask-logits.wgsl.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { sameShape, threadGrid, WORKGROUP } from "../grid.ts";

/**
 * Makes tokens impossible to draw: their logits become -1e30. Log-probs of `sample` are then those among the allowed tokens. Records
 * one dispatch per shard and submits nothing.
 *
 * @param logits f32 `[rows, n]` for each shard of the vocabulary; updated
 * @param allowed u32 `[rows, words]`, one bit per token of the whole vocabulary, lowest bit first; at least one is set in each row
 * @throws {ShapeError} a shard with tokens past the last bit, or another number of rows
 * @see shaders/sample/mask-logits.wgsl.ts, maskLogitsReference
 */
export function maskLogits(
  record: Recorder,
  logits: readonly { tensor: Tensor; start: number }[],
  allowed: Tensor,
): void {
  const [rows, words] = allowed.shape;
  for (const { tensor, start } of logits) {
    const cols = tensor.shape[1];
    sameShape("mask logits", tensor, [rows, cols]);
    if (start + cols > 32 * words) {
      throw new ShapeError(`Cannot mask logits of tokens up to ${start + cols}: the mask has ${32 * words} bits`);
    }
    const params = { rows, cols, start, words };
    record.dispatch(maskShader, { workgroup: WORKGROUP }, { allowed, logits: tensor }, params, threadGrid(rows * cols));
  }
}

/** The same for one row in float64 on the CPU. */
export function maskLogitsReference(
  logits: ArrayLike<number>,
  allowed: ArrayLike<number>,
  start: number,
): Float64Array {
  return Float64Array.from({ length: logits.length }, (_, i) => {
    const token = start + i;
    return (allowed[token >>> 5] >>> (token & 31)) & 1 ? logits[i] : MASKED;
  });
}
