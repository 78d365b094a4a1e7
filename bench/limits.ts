import { softwareRenderer } from "../src/gpu/cpu-adapters/names.ts";
import type { BenchRow } from "./rows.ts";

/** The limits of ratios. */
export type Limit = { least: number; most?: undefined } | { most: number; least?: undefined };

/** By wall-clock time and by CPU time. */
export interface Ratio {
  ms: number;
  cpu: number;
}

export function meets(ratio: number, { least, most }: Limit): boolean {
  return least === undefined ? ratio <= most : ratio >= least;
}

/** A row that says whether a limit is met. @param base the row of the timed subject */
export function judged(
  base: BenchRow,
  about: Partial<Pick<BenchRow, "what" | "shape">>,
  ratio: Ratio,
  limit: Limit,
  against: string,
): BenchRow {
  const met = meets(ratio.ms, limit);
  return { ...base, ...about, ratio: ratio.ms, cpu_ratio: ratio.cpu, ...limit, met, against };
}

/** x·Wᵀ in f32 relative to the faster peer: lower on SwiftShader, where the peer is already near the maximum. */
export function productLimit(adapter: string): Limit {
  return { least: softwareRenderer(adapter) === "swiftshader" ? 1.3 : 2 };
}

export const BACKWARD_PRODUCTS: Limit = { least: 0.9 };
export const STEP_128: Limit = { most: 20 };
export const STEP_512: Limit = { most: 22 };
export const TOKEN: Limit = { most: 2 };
export const SAMPLING: Limit = { least: 0.9 };
export const BATCH_16: Limit = { least: 6 };
export const STEP_SHARE: Limit = { least: 0.7 };
export const ATTENTION_BACKWARD: Limit = { most: 3 };
export const LENGTH_EXPONENT: Limit = { most: 1.05 };
export const DELTA_STEP: Limit = { most: 1.3 };
export const DELTA_EXPONENT: Limit = { most: 1.05 };

/**
 * On a GPU, relative to PyTorch on the same card: products in bf16, products in f32 relative to the card's peak, a step, and
 * decoding.
 */
export const TORCH_BF16: Limit = { least: 0.5 };
export const PEAK_F32: Limit = { least: 0.7 };
export const TORCH_STEP: Limit = { least: 1 };
export const TORCH_DECODING: Limit = { least: 5 };

/** Of RDNA's compiled products and attention: multiply-adds among the vector instructions of each hot loop, and subgroups that a SIMD holds. */
export const PRODUCT_LOOPS: Limit = { least: 0.85 };
export const ATTENTION_LOOPS: Limit = { least: 0.8 };
export const WAVES: Limit = { least: 8 };
