import type { RowImage } from "../../data/row-error.ts";
import type { TokenizedRow } from "../../data/tokenize.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { dftGradient } from "../../kernels/loss/dft.ts";
import type { Transformer } from "../../model/transformer.ts";
import type { BatchImages } from "../../model/vision/images.ts";
import type { SftRecipe } from "../../recipe/recipe.ts";
import type { StepResult } from "../method.ts";
import { type Optimizer, update } from "../optimizer.ts";
import { mixSeed } from "../seed.ts";
import { type MicroBatch, microBatch } from "./batches.ts";

/** TRL's `loss_type` of SFT: the cross-entropy, or dft, which weighs it by the token's probability. */
export type SftLossType = SftRecipe["loss_type"];

/** Settings of one optimizer step. */
export interface StepOptions {
  /** optimizer step, from 0 */
  step: number;
  learning_rate: number;
  max_grad_norm: number;
  label_smoothing_factor: number;
  loss_type?: SftLossType;
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
  const dft = options.loss_type === "dft";
  const pending: Pending[] = [];
  store.clearGrads(record);
  micro.forEach(({ batch, targets }, i) => {
    record.scope(() => {
      const rows = model.run(
        record,
        batch,
        targets,
        {
          dropoutSeed: mixSeed(options.seed, 1, options.step, i),
          noise: noiseOf(batch, model.config.hidden_size, options, i),
          labelSmoothing: dft ? 0 : options.label_smoothing_factor,
        },
        (r, { logp }, _start, count) =>
          dft
            ? dftGradient(r, logp, 1 / labelled)
            : r.upload(new Float32Array(count).fill(-1 / labelled), [count], "d.objective"),
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
  const { step, learning_rate } = options;
  return collect(pending, norm, labelled, { step, learning_rate, tokens, dft });
}

async function collect(
  pending: readonly Pending[],
  norm: Promise<ArrayBuffer>,
  labelled: number,
  { dft, ...known }: { step: number; learning_rate: number; tokens: number; dft: boolean },
): Promise<SftResult> {
  let [loss, entropy, accuracy] = [0, 0, 0];
  for (const { objective, entropy: h, correct } of pending) {
    loss += lossOf(await objective, dft);
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
/** The sum of rows' losses, from their objectives: minus the cross-entropies. */
function lossOf(data: ArrayBuffer, dft: boolean): number {
  return dft ? new Float32Array(data).reduce((total, lp) => total - Math.exp(lp) * lp, 0) : -sum(data);
}
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

/** What a model sees of images: features of a frozen tower, from a cache or computed, or patches for a trained tower. */
export type ImageSource = (model: Transformer, images: readonly RowImage[]) => Promise<BatchImages>;

/** Whether any batch has images that were not read yet. */
export const seesImages = (batches: readonly MicroBatch[]) => batches.some(({ batch }) => batch.row_images);

/** The same batch with what the model sees of its images. */
export async function withImages(
  model: Transformer,
  { batch, targets }: MicroBatch,
  source: ImageSource,
): Promise<MicroBatch> {
  if (!batch.row_images) return { batch, targets };
  return { batch: { ...batch, images: await source(model, batch.row_images) }, targets };
}

/** Rows of an evaluation in batches of `size`, in order. */
export function evalBatches(rows: readonly TokenizedRow[], size: number): MicroBatch[] {
  const batches: MicroBatch[] = [];
  for (let at = 0; at < rows.length; at += size) {
    batches.push(microBatch(rows.slice(at, at + size)));
  }
  return batches;
}

/** Loss (that of training, as in transformers), accuracy and entropy over rows, without gradients, token by token. */
export async function evaluate(
  model: Transformer,
  batches: readonly MicroBatch[],
  {
    labelSmoothing = 0,
    loss_type = "nll",
    images = null,
  }: { labelSmoothing?: number; loss_type?: SftLossType; images?: ImageSource | null } = {},
): Promise<{ loss: number; mean_token_accuracy: number; entropy: number }> {
  let [loss, accuracy, entropy, labelled] = [0, 0, 0, 0];
  const dft = loss_type === "dft";
  const options = { labelSmoothing: dft ? 0 : labelSmoothing };
  for (const each of batches) {
    const { batch, targets } = images ? await withImages(model, each, images) : each;
    const record = model.gpu.recorder();
    const pending = record.scope((): Pending | null => {
      const rows = model.run(record, batch, targets, options, null);
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
      loss += lossOf(await pending.objective, dft);
      entropy += sum(await pending.entropy);
      accuracy += sum(await pending.correct);
      labelled += targets.rows.length;
    }
  }
  const n = Math.max(1, labelled);
  return { loss: loss / n, mean_token_accuracy: accuracy / n, entropy: entropy / n };
}
