import { makeBatch } from "../../data/packing.ts";
import type { TokenizedRow } from "../../data/tokenize.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { shiftedTargets, type Transformer } from "../../model/transformer.ts";
import type { StepResult } from "../method.ts";
import { type Optimizer, update } from "../optimizer.ts";
import { mixSeed } from "../seed.ts";
import type { MicroBatch } from "./batches.ts";

/** Settings of one optimizer step. */
export interface StepOptions {
  /** optimizer step, from 0 */
  step: number;
  learning_rate: number;
  max_grad_norm: number;
  label_smoothing_factor: number;
  /** NEFTune's α; null for none (arXiv:2310.05914) */
  neftune_noise_alpha: number | null;
  seed: number;
}

/** The results of one step, once the GPU has run it. The loss includes label smoothing. */
export interface SftResult extends StepResult {
  /** mean over micro-batches of the mean over labelled tokens */
  mean_token_accuracy: number;
  entropy: number;
}

/** Per-row results that are read back from the GPU for one micro-batch. */
interface Pending {
  objective: Promise<ArrayBuffer>;
  entropy: Promise<ArrayBuffer>;
  correct: Promise<ArrayBuffer>;
}

/**
 * Records and submits one optimizer step of supervised fine-tuning: micro-batches, clipping, AdamW. Does not wait.
 *
 * The loss is Σ cross-entropy / N, with N the labelled tokens of all micro-batches, so that accumulation changes nothing.
 *
 * @returns the results of the step, once they are read back
 */
export function sftStep(
  record: Recorder,
  model: Transformer,
  optimizer: Optimizer,
  micro: readonly MicroBatch[],
  options: StepOptions,
): Promise<SftResult> {
  const store = model.store!;
  const labelled = micro.reduce((n, { targets }) => n + targets.rows.length, 0);
  const pending: Pending[] = [];
  record.clear(store.grads);
  micro.forEach(({ batch, targets }, i) => {
    record.scope(() => {
      const rows = model.run(
        record,
        batch,
        targets,
        {
          dropoutSeed: mixSeed(options.seed, 1, options.step, i),
          noise: noiseOf(batch, model.config.hidden_size, options, i),
          labelSmoothing: options.label_smoothing_factor,
        },
        (r, _rows, _start, count) => r.upload(new Float32Array(count).fill(-1 / labelled), [count], "d.objective"),
      );
      if (rows)
        pending.push({
          objective: record.read(rows.objective),
          entropy: record.read(rows.entropy),
          correct: record.read(rows.correct),
        });
    });
  });
  const norm = update(record, store, optimizer, options);
  const tokens = micro.reduce((n, { batch }) => n + batch.input_ids.length, 0);
  return collect(pending, norm, labelled, { step: options.step, learning_rate: options.learning_rate, tokens });
}

async function collect(
  pending: readonly Pending[],
  norm: Promise<ArrayBuffer>,
  labelled: number,
  known: { step: number; learning_rate: number; tokens: number },
): Promise<SftResult> {
  let [loss, entropy, accuracy] = [0, 0, 0];
  for (const { objective, entropy: h, correct } of pending) {
    loss -= sum(await objective);
    entropy += mean(await h) / pending.length;
    accuracy += mean(await correct) / pending.length;
  }
  return {
    ...known,
    loss: loss / Math.max(1, labelled),
    grad_norm: new Float32Array(await norm)[0],
    mean_token_accuracy: accuracy,
    entropy,
  };
}

const sum = (data: ArrayBuffer) => new Float32Array(data).reduce((total, v) => total + v, 0);
const mean = (data: ArrayBuffer) => sum(data) / (data.byteLength / 4);

/** NEFTune: uniform noise of size α/√(L·d) on the embeddings of a sequence of L tokens. */
function noiseOf(
  batch: MicroBatch["batch"],
  width: number,
  { neftune_noise_alpha: alpha, seed, step }: StepOptions,
  micro: number,
) {
  if (!alpha) return null;
  const scale = new Float32Array(batch.input_ids.length);
  for (let s = 0; s + 1 < batch.cu_seqlens.length; s++) {
    const [start, end] = [batch.cu_seqlens[s], batch.cu_seqlens[s + 1]];
    scale.fill(alpha / Math.sqrt((end - start) * width), start, end);
  }
  return { scale, seed: mixSeed(seed, 2, step, micro) };
}

/** Rows of an evaluation in batches of `size`, in order. */
export function evalBatches(rows: readonly TokenizedRow[], size: number): MicroBatch[] {
  const batches: MicroBatch[] = [];
  for (let at = 0; at < rows.length; at += size) {
    const batch = makeBatch(rows.slice(at, at + size));
    batches.push({ batch, targets: shiftedTargets(batch, batch.labels) });
  }
  return batches;
}

/** Loss (smoothed as in training, as transformers does), accuracy and entropy over rows, without gradients, token by token. */
export async function evaluate(
  model: Transformer,
  batches: readonly MicroBatch[],
  labelSmoothing = 0,
  onBatch?: () => void,
): Promise<{ loss: number; mean_token_accuracy: number; entropy: number }> {
  let [loss, accuracy, entropy, labelled] = [0, 0, 0, 0];
  for (const { batch, targets } of batches) {
    const record = model.gpu.recorder();
    const pending = record.scope((): Pending | null => {
      const rows = model.run(record, batch, targets, { labelSmoothing }, null);
      return (
        rows && {
          objective: record.read(rows.objective),
          entropy: record.read(rows.entropy),
          correct: record.read(rows.correct),
        }
      );
    });
    record.submit();
    model.gpu.endStep();
    if (pending) {
      loss -= sum(await pending.objective);
      entropy += sum(await pending.entropy);
      accuracy += sum(await pending.correct);
      labelled += targets.rows.length;
    }
    onBatch?.();
  }
  const n = Math.max(1, labelled);
  return { loss: loss / n, mean_token_accuracy: accuracy / n, entropy: entropy / n };
}
