import { PAIR_STATS } from "../../../shaders/loss/dpo-loss.wgsl.ts";
import type { DpoLossSettings, DpoLossType } from "../../../shaders/loss/dpo-losses.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { type DpoRows, dpoLoss, pairStats, sequenceSum } from "../../kernels/loss/dpo-loss.ts";
import type { HeadRows } from "../../model/layers/head.ts";
import type { Transformer } from "../../model/transformer.ts";
import { type DpoPair, type PackedPairs, packPairs, type ReferenceLogps } from "./pairs.ts";

/** Settings of DPO's loss, under TRL's names. */
export interface DpoLossOptions extends DpoLossSettings {
  loss_type: DpoLossType;
}

/** Settings of a training micro-batch. */
interface DpoTraining {
  /** micro-batches of the optimizer step: its loss is their mean */
  micros: number;
  /** u32 of the dropout masks; null: no dropout */
  dropoutSeed: number | null;
}

/** The results of a micro-batch, once the GPU has run it. */
export interface DpoResult {
  /** mean over its pairs */
  loss: number;
  pairs: number;
  /** under TRL's names; a step logs the means over micro-batches */
  metrics: Record<string, number>;
}

/**
 * Records DPO's loss over one micro-batch: chosen and rejected completions in one pass of the model and one of the
 * reference; with `training`, also the backward pass, whose gradients are added to the model's store. Submits no
 * commands and does not wait.
 *
 * @param reference null if the pairs have its log-probs
 * @throws {ShapeError} neither a reference nor its log-probs
 * @see shaders/loss/dpo-losses.ts; src/kernels/loss/dpo-loss.ts; TRL's DPOTrainer
 */
export function dpoObjective(
  record: Recorder,
  model: Transformer,
  reference: Transformer | null,
  pairs: readonly DpoPair[],
  options: DpoLossOptions,
  training: DpoTraining | null,
): Promise<DpoResult> {
  const packed = packPairs(pairs);
  const { batch, targets } = packed;
  const weight = 1 / (pairs.length * (training?.micros ?? 1));
  const pending = record.scope(() => {
    const given = uploaded(record, packed);
    const ref_logp = reference
      ? record.scope(() => sequenceSum(record, reference.run(record, batch, targets, {}, null)!.logp, given.starts))
      : record.upload(knownLogps(pairs), [2 * pairs.length], "ref_logp");
    const rows: DpoRows = { ...given, ref_logp };
    const stats = pairStats(record, pairs.length);
    const take = (r: Recorder, { logp }: HeadRows) => dpoLoss(r, logp, rows, stats, { ...options, weight });
    const dropoutSeed = training?.dropoutSeed ?? null;
    const results = model.run(record, batch, targets, { dropoutSeed }, training ? { ofAll: take } : null)!;
    if (!training) record.release(take(record, results));
    const { entropy, correct, mean } = results;
    return [stats, entropy, correct, mean].map((tensor) => record.read(tensor));
  });
  return Promise.all(pending).then((read) => {
    const [stats, entropy, correct, mean] = read.map((data) => new Float32Array(data));
    return summary({ stats, entropy, correct, mean }, packed.starts, options.beta);
  });
}

/**
 * Records a pass of the reference over pairs: TRL's `precompute_ref_log_probs`. Submits nothing.
 *
 * @returns the summed log-probs of each pair's completions, once the GPU has run it
 */
export function referenceLogps(
  record: Recorder,
  reference: Transformer,
  pairs: readonly DpoPair[],
): Promise<ReferenceLogps[]> {
  const packed = packPairs(pairs);
  const pending = record.scope(() => {
    const { logp } = reference.run(record, packed.batch, packed.targets, {}, null)!;
    return record.read(sequenceSum(record, logp, uploaded(record, packed).starts));
  });
  return pending.then((data) => {
    const sums = new Float32Array(data);
    return pairs.map((_, p) => ({ ref_chosen_logps: sums[p], ref_rejected_logps: sums[p + pairs.length] }));
  });
}

function uploaded(record: Recorder, { starts, tokens }: PackedPairs): { starts: Tensor; tokens: Tensor } {
  return {
    starts: record.upload(Uint32Array.from(starts), [starts.length], "starts"),
    tokens: record.upload(Float32Array.from(tokens), [tokens.length], "tokens"),
  };
}

function knownLogps(pairs: readonly DpoPair[]): Float32Array {
  const all = [...pairs.map((pair) => pair.ref_chosen_logps), ...pairs.map((pair) => pair.ref_rejected_logps)];
  if (all.includes(undefined)) {
    throw new ShapeError(
      "Cannot compute DPO's loss: there is no reference model, and the pairs have no reference log-probs",
    );
  }
  return Float32Array.from(all as number[]);
}

/** Results read back for a micro-batch: `pairStats`, and one value per target row, chosen completions first. */
interface Read {
  stats: Float32Array;
  entropy: Float32Array;
  correct: Float32Array;
  mean: Float32Array;
}

/** Loss and metrics as in TRL: means over pairs or tokens; token accuracy is over chosen completions. */
function summary({ stats, entropy, correct, mean }: Read, starts: readonly number[], beta: number): DpoResult {
  const pairs = stats.length / PAIR_STATS;
  const column = (c: number) => Array.from({ length: pairs }, (_, p) => stats[PAIR_STATS * p + c]);
  const [losses, chosen, rejected, refChosen, refRejected] = [0, 1, 2, 3, 4].map(column);
  const won = chosen.map((logp, p) => beta * (logp - refChosen[p]));
  const lost = rejected.map((logp, p) => beta * (logp - refRejected[p]));
  const ofChosen = starts[pairs];
  return {
    loss: meanOf(losses),
    pairs,
    metrics: {
      entropy: meanOf(entropy),
      "logits/chosen": meanOf(mean.subarray(0, ofChosen)),
      "logits/rejected": meanOf(mean.subarray(ofChosen)),
      mean_token_accuracy: meanOf(correct.subarray(0, ofChosen)),
      "rewards/chosen": meanOf(won),
      "rewards/rejected": meanOf(lost),
      "rewards/accuracies": meanOf(won.map((reward, p) => (reward > lost[p] ? 1 : 0))),
      "rewards/margins": meanOf(won.map((reward, p) => reward - lost[p])),
      "logps/chosen": meanOf(chosen),
      "logps/rejected": meanOf(rejected),
    },
  };
}

function meanOf(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum / Math.max(1, values.length);
}
