import { dft as dftShader } from "../../../shaders/loss/dft.wgsl.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { threadGrid, WORKGROUP } from "../grid.ts";

/**
 * Gradient of dynamic fine-tuning's loss, `factor · Σ −sg(p)·ln p` with p the probability of the target, for the log-probs.
 *
 * @param logp f32 `[count]`, nats
 * @returns `−factor · exp(logp)`, f32 `[count]`
 * @see Wu et al. 2025, arXiv:2508.05629; TRL's dft_loss; dftReference
 */
export function dftGradient(record: Recorder, logp: Tensor, factor: number): Tensor {
  const [count] = logp.shape;
  const dlogp = record.empty([count], "f32", "d.logp");
  record.dispatch(dftShader, { workgroup: WORKGROUP }, { logp, dlogp }, { count, factor }, threadGrid(count));
  return dlogp;
}

/** Loss of each row with the weights `held` (the probabilities, which have no gradient), and its slope, in float64. */
export function dftReference(
  logp: Float64Array,
  factor: number,
  held: Float64Array = logp.map(Math.exp),
): { loss: Float64Array; dlogp: Float64Array } {
  return { loss: logp.map((lp, i) => -factor * held[i] * lp), dlogp: held.map((p) => -factor * p) };
}
