import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { roundBf16, widenBf16 } from "../../kernels/elementwise.ts";

// Tensors that are kept for the backward pass: as they are, or rounded to bf16, as `gpu.activations` says.

/**
 * A tensor as it is kept until the backward pass: itself, or a copy in bf16. The caller releases `tensor` after its last use in
 * the forward pass, unless it is what is kept.
 */
export function keep(record: Recorder, tensor: Tensor): Tensor {
  return record.gpu.activations === "bf16" && tensor.dtype === "f32" ? roundBf16(record, tensor) : tensor;
}

/** Keeps a tensor after its last use in the forward pass: releases it where a copy is kept. */
export function keepOnly(record: Recorder, tensor: Tensor): Tensor {
  const kept = keep(record, tensor);
  if (kept !== tensor) record.release(tensor);
  return kept;
}

/** A kept tensor in f32: itself, or a new one, which the enclosing scope releases. */
export function restore(record: Recorder, kept: Tensor): Tensor {
  return kept.dtype === "bf16" ? widenBf16(record, kept) : kept;
}

/** Releases what `restore` returned, where it is not the kept tensor itself. */
export function dropCopy(record: Recorder, restored: Tensor, kept: Tensor): void {
  if (restored !== kept) record.release(restored);
}
