import { grpoLoss as lossShader } from "../../../shaders/loss/grpo-loss.wgsl.ts";
import { GRPO_LOSSES, type GrpoLossType, type LossSettings, termOf } from "../../../shaders/loss/grpo-losses.ts";
import { readsSequences } from "../../../shaders/loss/grpo-variant.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { sameShape, threadGrid, WORKGROUP } from "../grid.ts";

/** Settings of the loss, under TRL's names. */
export interface RowLossOptions extends LossSettings {
  loss_type: GrpoLossType;
  /** where the importance ratio is taken */
  importance_sampling_level: "token" | "sequence";
  /** weight of the KL penalty against the reference model; 0 for none */
  beta: number;
  /** whether the penalty is multiplied by the ratio */
  use_bias_correction_kl: boolean;
  /** nats a token: sequences of negative advantage that the policy has left further than this count 0; null is off */
  off_policy_mask_threshold: number | null;
}

/** Inputs for all rows of a micro-batch; `logp` is passed chunk by chunk. */
export interface GrpoRows {
  /** f32 `[n, 4]`: advantage, what the row's loss is multiplied by, log-prob when generated, log-prob of the reference */
  rows: Tensor;
  /** whether there are log-probs of when it was generated; without: on-policy, the ratio is 1 with logp's gradient */
  old: boolean;
  /** f32 `[n]`, 1 or 0, of `entropyMask`; null: every row counts */
  counted: Tensor | null;
  /** f32 `[n, 4]` of `sequenceTerms`; needed where `needsSequences` says so */
  sequences: Tensor | null;
}

/** Whether there are log-probs of when the rows were generated, and whether some of them do not count. */
interface RowKinds {
  old: boolean;
  counted: boolean;
}

/** The variant that computes a loss. */
function variantOf(options: RowLossOptions, { old, counted }: RowKinds) {
  const { loss_type, importance_sampling_level, beta, use_bias_correction_kl, off_policy_mask_threshold } = options;
  const { term } = GRPO_LOSSES[loss_type];
  const kl = beta === 0 ? "none" : use_bias_correction_kl ? "corrected" : "plain";
  const bySequence = importance_sampling_level === "sequence";
  return {
    term,
    kl,
    counted,
    ratio: !old ? "one" : bySequence ? "sequence" : "token",
    // else all rows of a sequence have one slope anyway
    spread: bySequence && (kl === "corrected" || (counted && termOf(loss_type).through === "ratio")),
    offPolicy: off_policy_mask_threshold !== null && old,
  } as const;
}

/** Whether a loss reads `sequenceTerms`: then all rows have to go through the model before any has a gradient. */
export function needsSequences(options: RowLossOptions, kinds: RowKinds): boolean {
  return readsSequences(variantOf(options, kinds));
}

/** Allocates the weighted loss, the KL term and two statistics of each row: f32 `[n, 4]`. */
export function grpoStats(record: Recorder, rows: number): Tensor {
  return record.empty([rows, 4], "f32", "grpo.stats");
}

/**
 * GRPO's objective for the rows `start … start + count − 1` of a micro-batch, and its gradient for their log-probs.
 *
 * `L = w·(m·f(ρ, A, logp) + β·KL)` with f the token term of the loss and `KL = exp(ref−logp) − (ref−logp) − 1`, times ρ where
 * it is corrected. With a sequence's ratio the gradient is that of the whole sequence as long as its rows have one weight
 * and one advantage, as all loss types have. One dispatch, no submit.
 *
 * @param logp f32 `[count]`, nats
 * @param stats from `grpoStats`: weighted loss, KL, the term's two statistics; written from row `start`
 * @returns d loss / d logp, f32 `[count]`
 * @throws {ShapeError} lengths that differ; what a sequence's rows need of it is missing
 * @see shaders/loss/grpo-losses.ts, grpoLossReference, TRL's GRPOTrainer
 */
export function grpoLoss(
  record: Recorder,
  logp: Tensor,
  { rows, old, counted, sequences }: GrpoRows,
  stats: Tensor,
  start: number,
  options: RowLossOptions,
): Tensor {
  const [count] = logp.shape;
  const [n] = stats.shape;
  for (const tensor of [stats, rows, sequences]) if (tensor) sameShape("take a GRPO loss", tensor, [n, 4]);
  if (counted) sameShape("take a GRPO loss", counted, [n]);
  if (start + count > n)
    throw new ShapeError(`Cannot take a GRPO loss of rows ${start} to ${start + count}: there are ${n}`);
  const variant = variantOf(options, { old, counted: counted !== null });
  const reads = readsSequences(variant);
  if (reads && !sequences) throw new ShapeError("Cannot take a GRPO loss: it needs the terms of whole sequences");
  const uniforms = Object.entries(termOf(options.loss_type).uniforms).map(([name, value]) => [name, value(options)]);
  const { beta, off_policy_mask_threshold } = options;
  const dlogp = record.empty([count], "f32", "d.logp");
  record.dispatch(
    lossShader,
    { ...variant, workgroup: WORKGROUP },
    { logp, rows, dlogp, stats, ...(reads && { sequences: sequences! }), ...(counted && { counted }) },
    { start, count, ...Object.fromEntries(uniforms), beta, threshold: off_policy_mask_threshold ?? 0 },
    threadGrid(count),
  );
  return dlogp;
}

/** Inputs of the reference. */
interface GrpoReferenceRows {
  logp: Float64Array;
  /** `[n, 4]` as `GrpoRows.rows` */
  rows: Float64Array;
  old: boolean;
  counted: Float64Array | null;
  /** `[n, 4]` */
  sequences: Float64Array | null;
}

/** The same in float64 on the CPU. `kl` is what is logged. */
export function grpoLossReference(
  { logp, rows, old, counted, sequences }: GrpoReferenceRows,
  options: RowLossOptions,
): { loss: Float64Array; kl: Float64Array; low: Float64Array; high: Float64Array; dlogp: Float64Array } {
  const make = () => new Float64Array(logp.length);
  const out = { loss: make(), kl: make(), low: make(), high: make(), dlogp: make() };
  const { beta, off_policy_mask_threshold } = options;
  const term = termOf(options.loss_type);
  const { ratio, kl, spread, offPolicy } = variantOf(options, { old, counted: counted !== null });
  logp.forEach((lp, i) => {
    const [a, weight, oldLogp, ref] = rows.subarray(4 * i, 4 * i + 4);
    const [meanRatio, log_w, meanCount, meanKl] = sequences?.subarray(4 * i, 4 * i + 4) ?? [0, 0, 1, 0];
    const log_rho = ratio === "one" ? 0 : ratio === "token" ? lp - oldLogp : meanRatio;
    const rho = Math.exp(log_rho);
    const value = term.reference({ lp, a, rho, log_rho, log_w: old ? log_w : 0 }, options);
    out.low[i] = value.low;
    out.high[i] = value.high;
    const left = offPolicy && a < 0 && -meanRatio > off_policy_mask_threshold!;
    const m = left ? 0 : !counted ? 1 : spread && term.through === "ratio" ? meanCount : counted[i];
    let [loss, slope] = [m * value.loss, m * value.slope];
    if (kl !== "none") {
      const x = ref - lp;
      const k = Math.expm1(x) - x;
      const factor = kl === "corrected" ? rho : 1;
      out.kl[i] = factor * k;
      loss += beta * factor * k;
      slope -= beta * factor * Math.expm1(x);
      if (kl === "corrected") slope += beta * rho * (spread ? meanKl : k);
    }
    out.loss[i] = weight * loss;
    out.dlogp[i] = weight * slope;
  });
  return out;
}
