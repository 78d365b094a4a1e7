import { grpoLoss as lossShader, sequenceLogRatio as ratioShader } from "../../../shaders/loss/grpo-loss.wgsl.ts";
import { GRPO_LOSSES, type GrpoLossType, type LossSettings, termOf } from "../../../shaders/loss/grpo-losses.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { sameShape, threadGrid, WORKGROUP } from "../grid.ts";

const THREADS = 64;

/** Settings of the loss, under TRL's names. */
export interface RowLossOptions extends LossSettings {
  loss_type: GrpoLossType;
  /** weight of the KL penalty against the reference model; 0 for none */
  beta: number;
}

/** Inputs for all rows of a micro-batch, f32 `[n]`; `logp` is passed chunk by chunk. */
export interface GrpoRows {
  advantage: Tensor;
  /** weight of each row's loss in the sum */
  weight: Tensor;
  /** give at most one of the two; neither: on-policy, the ratio is 1 and its gradient equals the gradient of logp */
  old_logp: Tensor | null;
  /** of `sequenceLogRatio` */
  log_ratio: Tensor | null;
  /** required unless beta is 0 */
  ref_logp: Tensor | null;
}

/** Allocates the weighted loss, the KL term and two statistics of each row: f32 `[n, 4]`. */
export function grpoStats(record: Recorder, rows: number): Tensor {
  return record.empty([rows, 4], "f32", "grpo.stats");
}

/**
 * GRPO's objective for the rows `start … start + count − 1` of a micro-batch, and its gradient for their log-probs.
 *
 * `L = w·(f(ρ, A, logp) + β·KL)` with f the token term of the loss and `KL = exp(ref−logp) − (ref−logp) − 1`. For
 * sequence-level ratios, all rows of a sequence must have the same weight and advantage (true for all loss types). Rows
 * are independent: one dispatch, no submit.
 *
 * @param logp f32 `[count]`, nats
 * @param stats from `grpoStats`: weighted loss, KL, the term's two statistics; written from row `start`
 * @returns d loss / d logp, f32 `[count]`
 * @throws {ShapeError} lengths that differ; two sources of the ratio; β without reference log-probs
 * @see shaders/loss/grpo-losses.ts, grpoLossReference, TRL's GRPOTrainer
 */
export function grpoLoss(
  record: Recorder,
  logp: Tensor,
  rows: GrpoRows,
  stats: Tensor,
  start: number,
  options: RowLossOptions,
): Tensor {
  const { loss_type, beta } = options;
  const [count] = logp.shape;
  const [n] = stats.shape;
  sameShape("compute the GRPO loss", stats, [n, 4]);
  for (const tensor of Object.values(rows)) if (tensor) sameShape("compute the GRPO loss", tensor, [n]);
  if (start + count > n)
    throw new ShapeError(`Cannot compute the GRPO loss of rows ${start} to ${start + count}: there are ${n} rows`);
  const { advantage, weight, old_logp, log_ratio, ref_logp } = rows;
  if (old_logp && log_ratio) {
    throw new ShapeError("Cannot compute the GRPO loss: give old_logp or log_ratio, not both");
  }
  const kl = beta !== 0;
  if (kl && !ref_logp) throw new ShapeError(`Cannot compute the GRPO loss with beta ${beta}: it needs ref_logp`);
  const { term } = GRPO_LOSSES[loss_type];
  const uniforms = Object.entries(termOf(loss_type).uniforms).map(([name, value]) => [name, value(options)]);
  const dlogp = record.empty([count], "f32", "d.logp");
  const other = old_logp ?? log_ratio;
  record.dispatch(
    lossShader,
    { ratio: old_logp ? "token" : log_ratio ? "given" : "one", term, kl, workgroup: WORKGROUP },
    { logp, advantage, weight, dlogp, stats, ...(other && { other }), ...(kl && { ref_logp: ref_logp! }) },
    { start, count, ...Object.fromEntries(uniforms), beta },
    threadGrid(count),
  );
  return dlogp;
}

/**
 * The log of a sequence's importance ratio, `mean_t(logp − old_logp)`, at each of its rows.
 *
 * Deterministic. Records one dispatch and submits nothing.
 *
 * @param logp, old_logp f32 `[n]`, concatenated sequences
 * @param starts u32 `[sequences + 1]`: first row of each sequence, then n
 * @returns f32 `[n]`
 * @throws {ShapeError} lengths that differ
 * @see Zheng et al. 2025, arXiv:2507.18071; sequenceLogRatioReference
 */
export function sequenceLogRatio(record: Recorder, logp: Tensor, old_logp: Tensor, starts: Tensor): Tensor {
  const [n] = logp.shape;
  const sequences = starts.shape[0] - 1;
  sameShape("compute sequence ratios", old_logp, [n]);
  sameShape("compute sequence ratios", starts, [sequences + 1]);
  const log_ratio = record.empty([n], "f32", "log_ratio");
  record.dispatch(
    ratioShader,
    { workgroup: THREADS },
    { logp, old_logp, starts, log_ratio },
    { sequences },
    Math.max(0, sequences),
  );
  return log_ratio;
}

/** Inputs of the reference, each `[n]`. */
interface GrpoReferenceRows {
  logp: Float64Array;
  advantage: Float64Array;
  weight: Float64Array;
  old_logp: Float64Array | null;
  log_ratio: Float64Array | null;
  ref_logp: Float64Array | null;
}

/** The same in float64 on the CPU. */
export function grpoLossReference(
  { logp, advantage, weight, old_logp, log_ratio, ref_logp }: GrpoReferenceRows,
  options: RowLossOptions,
): { loss: Float64Array; kl: Float64Array; low: Float64Array; high: Float64Array; dlogp: Float64Array } {
  const make = () => new Float64Array(logp.length);
  const out = { loss: make(), kl: make(), low: make(), high: make(), dlogp: make() };
  const { loss_type, beta } = options;
  const term = termOf(loss_type);
  logp.forEach((lp, i) => {
    const log_rho = log_ratio ? log_ratio[i] : old_logp ? lp - old_logp[i] : 0;
    const value = term.reference({ lp, a: advantage[i], rho: Math.exp(log_rho), log_rho }, options);
    let { loss, slope } = value;
    out.low[i] = value.low;
    out.high[i] = value.high;
    if (beta !== 0) {
      const x = ref_logp![i] - lp;
      out.kl[i] = Math.expm1(x) - x;
      loss += beta * out.kl[i];
      slope -= beta * Math.expm1(x);
    }
    out.loss[i] = weight[i] * loss;
    out.dlogp[i] = weight[i] * slope;
  });
  return out;
}

/** Mean log-ratio of each row's sequence, in float64. */
export function sequenceLogRatioReference(
  logp: Float64Array,
  old_logp: Float64Array,
  starts: readonly number[],
): Float64Array {
  const out = new Float64Array(logp.length);
  for (let s = 0; s + 1 < starts.length; s++) {
    const [start, end] = [starts[s], starts[s + 1]];
    let sum = 0;
    for (let i = start; i < end; i++) sum += logp[i] - old_logp[i];
    out.fill(sum / Math.max(1, end - start), start, end);
  }
  return out;
}
