import { entropyMask as maskShader } from "../../../shaders/loss/entropy-mask.wgsl.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { sizeOf, type Tensor } from "../../gpu/tensor.ts";

const THREADS = 256;

/** Which rows count, and what each one's share of the mean entropy of those is multiplied by. */
interface EntropyMaskOptions {
  /** TRL's `top_entropy_quantile`: the share of rows that count, those of highest entropy; 0 leaves the highest one */
  top_entropy_quantile: number;
  factor: number;
}

/** Where the quantile lies among `n` values in ascending order, in f32 as torch.quantile has it. */
function placeOf(n: number, top: number): { rank: number; part: number } {
  const at = Math.fround(Math.fround(1 - top) * (n - 1));
  return { rank: Math.floor(at), part: Math.fround(at - Math.floor(at)) };
}

/**
 * Which rows have an entropy at or above the (1 − q) quantile of all rows: 1 or 0; and `factor` over their number, 0 for the
 * others. One dispatch of one workgroup; submits nothing.
 *
 * @param entropy f32 `[n]`, n at least 1 and at most 2²⁴
 * @returns both f32 `[n]`
 * @see Wang et al. 2025, arXiv:2506.01939; TRL's GRPOTrainer.get_high_entropy_mask; entropyMaskReference
 */
export function entropyMask(
  record: Recorder,
  entropy: Tensor,
  { top_entropy_quantile, factor }: EntropyMaskOptions,
): { counted: Tensor; slope: Tensor } {
  const n = sizeOf(entropy.shape);
  const counted = record.empty([n], "f32", "counted");
  const slope = record.empty([n], "f32", "d.entropy");
  const params = { n, ...placeOf(n, top_entropy_quantile), factor };
  record.dispatch(maskShader, { workgroup: THREADS }, { entropy, counted, slope }, params, 1);
  return { counted, slope };
}

/** The same on the CPU, the threshold in f32 as the values are. */
export function entropyMaskReference(
  entropy: ArrayLike<number>,
  { top_entropy_quantile, factor }: EntropyMaskOptions,
): { counted: Float64Array; slope: Float64Array } {
  const sorted = Float32Array.from(entropy).sort();
  const { rank, part } = placeOf(sorted.length, top_entropy_quantile);
  const [lower, upper] = [sorted[rank], sorted[Math.min(rank + 1, sorted.length - 1)]];
  const step = Math.fround(upper - lower);
  const threshold =
    part < 0.5
      ? Math.fround(lower + Math.fround(part * step))
      : Math.fround(upper - Math.fround(Math.fround(1 - part) * step));
  const counted = Float64Array.from(entropy, (value) => (value >= threshold ? 1 : 0));
  const number = counted.reduce((a, b) => a + b, 0);
  return { counted, slope: counted.map((m) => (m * factor) / Math.max(1, number)) };
}
