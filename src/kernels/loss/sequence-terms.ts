import { LOG_RATIO_MOST, LOG_W_LEAST } from "../../../shaders/loss/grpo-losses.ts";
import { sequenceTerms as termsShader } from "../../../shaders/loss/sequence-terms.wgsl.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { sameShape } from "../grid.ts";

const THREADS = 64;

/** What the terms are taken of, all rows of a micro-batch, sequences end to end. */
interface SequenceRows<T> {
  /** `[n]`, nats */
  logp: T;
  /** `[n, 4]`: the third is the log-prob when generated, the fourth that of the reference */
  rows: T;
  /** `[n]`, 1 or 0; null: every row counts */
  counted: T | null;
}

/** Which of the two log-probs there are. */
interface SequenceKinds {
  old: boolean;
  kl: boolean;
}

/**
 * What each row's loss depends on of its whole sequence: the mean of the log-ratio, the log of the sequence's ratio within
 * TRL's bounds, the mean count and the mean KL term, all as f32.
 *
 * Deterministic. Records one dispatch and submits nothing.
 *
 * @param starts u32 `[sequences + 1]`: first row of each, and n
 * @returns f32 `[n, 4]`
 * @throws {ShapeError} lengths that differ
 * @see shaders/loss/sequence-terms.wgsl.ts, sequenceTermsReference, TRL's GRPOTrainer.get_gamma_weights
 */
export function sequenceTerms(
  record: Recorder,
  { logp, rows, counted }: SequenceRows<Tensor>,
  starts: Tensor,
  { old, kl }: SequenceKinds,
): Tensor {
  const [n] = logp.shape;
  const sequences = starts.shape[0] - 1;
  sameShape("take the terms of sequences", rows, [n, 4]);
  sameShape("take the terms of sequences", starts, [sequences + 1]);
  if (counted) sameShape("take the terms of sequences", counted, [n]);
  const terms = record.empty([n, 4], "f32", "sequence.terms");
  record.dispatch(
    termsShader,
    { old, kl, counted: counted !== null, workgroup: THREADS },
    { logp, rows, starts, terms, ...(counted && { counted }) },
    { sequences },
    Math.max(0, sequences),
  );
  return terms;
}

/** The same in float64 on the CPU. */
export function sequenceTermsReference(
  { logp, rows, counted }: SequenceRows<Float64Array>,
  starts: readonly number[],
  { old, kl }: SequenceKinds,
): Float64Array {
  const out = new Float64Array(4 * logp.length);
  for (let s = 0; s + 1 < starts.length; s++) {
    const [start, end] = [starts[s], starts[s + 1]];
    const sums = [0, 0, 0, 0];
    for (let i = start; i < end; i++) {
      const d = old ? logp[i] - rows[4 * i + 2] : 0;
      const x = kl ? rows[4 * i + 3] - logp[i] : 0;
      const terms = [d, Math.min(Math.max(d, -LOG_RATIO_MOST), LOG_RATIO_MOST), counted?.[i] ?? 1, Math.expm1(x) - x];
      terms.forEach((term, c) => {
        sums[c] += term;
      });
    }
    const n = end - start;
    const log_w = Math.min(Math.max(sums[1], LOG_W_LEAST), LOG_RATIO_MOST);
    for (let i = start; i < end; i++) out.set([sums[0] / n, log_w, sums[2] / n, sums[3] / n], 4 * i);
  }
  return out;
}
