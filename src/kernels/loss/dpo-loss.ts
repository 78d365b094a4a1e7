import { dpoLoss as lossShader, PAIR_STATS, sequenceSum as sumShader } from "../../../shaders/loss/dpo-loss.wgsl.ts";
import { type DpoLossSettings, type DpoLossType, dpoLossOf, type Pair } from "../../../shaders/loss/dpo-losses.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { sameShape } from "../grid.ts";

const THREADS = 64;

/**
 * The sum of `values` over each sequence's rows.
 *
 * Deterministic. Records one dispatch and submits nothing.
 *
 * @param values f32 `[n]`, concatenated sequences
 * @param starts u32 `[sequences + 1]`: first row of each, then n
 * @returns f32 `[sequences]`; 0 for a sequence without rows
 * @see sequenceSumReference
 */
export function sequenceSum(record: Recorder, values: Tensor, starts: Tensor): Tensor {
  const sequences = starts.shape[0] - 1;
  const sums = record.empty([sequences], "f32", "sums");
  record.dispatch(sumShader, { workgroup: THREADS }, { values, starts, sums }, { sequences }, sequences);
  return sums;
}

/** Settings of a pair's loss, under TRL's names. */
export interface PairLossOptions extends DpoLossSettings {
  loss_type: DpoLossType;
  /** factor of the derivatives: 1 / (pairs · micro-batches), so that the loss of a step is a mean */
  weight: number;
}

/**
 * Inputs of a micro-batch's loss: the chosen completions of all pairs first, then the rejected ones, in the same order.
 */
export interface DpoRows {
  /** summed log-probs of the reference, f32 `[2 pairs]` */
  ref_logp: Tensor;
  /** tokens of each completion, f32 `[2 pairs]` */
  tokens: Tensor;
  /** u32 `[2 pairs + 1]`: first row of each completion, then the number of rows */
  starts: Tensor;
}

/**
 * Allocates the loss and four summed log-probs of each pair: chosen, rejected, and both of the reference. f32 `[pairs,
 * 5]`.
 */
export function pairStats(record: Recorder, pairs: number): Tensor {
  return record.empty([pairs, PAIR_STATS], "f32", "dpo.stats");
}

/**
 * DPO's loss of each pair, and its gradient for the log-prob of each row.
 *
 * Records two dispatches and submits nothing.
 *
 * @param logp f32 `[n]`, nats, concatenated completions
 * @param stats from `pairStats`; written
 * @returns d (weight · Σ loss) / d logp, f32 `[n]`
 * @throws {ShapeError} lengths that differ; an odd number of completions
 * @see shaders/loss/dpo-losses.ts, dpoLossReference, TRL's DPOTrainer
 */
export function dpoLoss(
  record: Recorder,
  logp: Tensor,
  rows: DpoRows,
  stats: Tensor,
  { loss_type, beta, label_smoothing: smoothing, weight }: PairLossOptions,
): Tensor {
  const { ref_logp, tokens, starts } = rows;
  const completions = starts.shape[0] - 1;
  if (completions % 2 !== 0) {
    throw new ShapeError(
      `Cannot compute the DPO loss of ${completions} completions: each pair needs a chosen and a rejected one`,
    );
  }
  const pairs = completions / 2;
  sameShape("take a DPO loss", ref_logp, [completions]);
  sameShape("take a DPO loss", tokens, [completions]);
  sameShape("take a DPO loss", stats, [pairs, PAIR_STATS]);
  const sums = sequenceSum(record, logp, starts);
  const dlogp = record.empty(logp.shape, "f32", "d.logp");
  record.dispatch(
    lossShader,
    { loss: loss_type, workgroup: THREADS },
    { sums, ref_logp, tokens, starts, dlogp, stats },
    { pairs, beta, smoothing, weight },
    completions,
  );
  return dlogp;
}

/** `sequenceSum` in float64 on the CPU. */
export function sequenceSumReference(values: Float64Array, starts: readonly number[]): Float64Array {
  return Float64Array.from({ length: starts.length - 1 }, (_, s) =>
    values.subarray(starts[s], starts[s + 1]).reduce((sum, value) => sum + value, 0),
  );
}

/** Inputs of the reference: `logp` `[n]`, the others one value per completion. */
interface DpoReferenceRows {
  logp: Float64Array;
  ref_logp: Float64Array;
  tokens: Float64Array;
  starts: readonly number[];
}

/** The same in float64 on the CPU. `stats` has the layout of `pairStats`. */
export function dpoLossReference(
  { logp, ref_logp, tokens, starts }: DpoReferenceRows,
  { loss_type, weight, ...settings }: PairLossOptions,
): { loss: Float64Array; stats: Float64Array; dlogp: Float64Array } {
  const pairs = (starts.length - 1) / 2;
  const sums = sequenceSumReference(logp, starts);
  const [loss, stats] = [new Float64Array(pairs), new Float64Array(PAIR_STATS * pairs)];
  const dlogp = new Float64Array(logp.length);
  for (let p = 0; p < pairs; p++) {
    const other = p + pairs;
    const pair: Pair = {
      c: sums[p] - ref_logp[p],
      r: sums[other] - ref_logp[other],
      nc: tokens[p],
      nr: tokens[other],
    };
    const value = dpoLossOf(loss_type).reference(pair, settings);
    loss[p] = value.loss;
    stats.set([value.loss, sums[p], sums[other], ref_logp[p], ref_logp[other]], PAIR_STATS * p);
    dlogp.fill(weight * value.dc, starts[p], starts[p + 1]);
    dlogp.fill(weight * value.dr, starts[other], starts[other + 1]);
  }
  return { loss, stats, dlogp };
}
