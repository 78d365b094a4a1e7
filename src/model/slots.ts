import type { Tensor } from "../gpu/tensor.ts";

/** How a weight is stored on the GPU. */
export type WeightDType = "f32" | "f16" | "bf16" | "int8" | "nf4";

/** The destination of some rows of a checkpoint's tensor. */
export interface Slot {
  tensor: Tensor;
  /** number of rows */
  shape: readonly number[];
  /** first row in the checkpoint's tensor */
  start: number;
  /** first element in `tensor` */
  at: number;
}
