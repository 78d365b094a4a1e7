import type { Tensor } from "../gpu/tensor.ts";

/** How a weight is stored on the GPU. */
export type WeightDType = "f32" | "f16" | "bf16" | "int8" | "nf4";

/** Where rows of a checkpoint's tensor go. */
export interface Slot {
  tensor: Tensor;
  /** of these rows */
  shape: readonly number[];
  /** the first of them */
  start: number;
  /** first element in `tensor` */
  at: number;
}
