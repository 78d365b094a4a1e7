import type { TokenizedPair } from "../../data/preferences.ts";
import type { RowImage } from "../../data/row-error.ts";
import { AbortError } from "../../errors.ts";
import type { Transformer } from "../../model/transformer.ts";
import type { SeenImages } from "../../model/vision/images.ts";
import type { DpoRecipe } from "../../recipe/recipe.ts";
import type { Trainee } from "../checkpoint.ts";
import { train } from "../loop.ts";
import type { StepContext, StepResult, Submitted, TrainEvent, TrainingMethod, TrainOptions } from "../method.ts";
import { Means } from "../metrics.ts";
import { update } from "../optimizer.ts";
import { referenceOf } from "../reference.ts";
import { mixSeed } from "../seed.ts";
import { TokensPerSecond } from "../speed.ts";
import { DpoBatches, tokensOf } from "./batches.ts";
import { type DpoResult, dpoObjective, referenceLogps } from "./objective.ts";
import type { DpoPair } from "./pairs.ts";

/** A finished step; its numbers arrive one step late. `margin`: difference of the chosen and rejected rewards. */
type DpoStepEvent = { type: "step"; step: number; tokens: number; loss: number; margin: number };
/** Events of a DPO run: the loop's events, and steps. */
export type DpoEvent = TrainEvent | DpoStepEvent;

/** Options of a DPO run. */
export interface DpoOptions extends TrainOptions {
  /** number of pairs with computed reference log-probs, with precompute_ref_log_probs */
  onProgress?: (what: string, done: number, total: number) => void;
}

/** Training pairs and evaluation pairs. */
export interface DpoData {
  train: readonly TokenizedPair[];
  eval: readonly TokenizedPair[] | null;
  /** what the model sees of pairs' images; null or absent: they have none */
  images?: ((model: Transformer, images: readonly RowImage[]) => Promise<SeenImages>) | null;
  /** whether training continues from an adapter, which is then the reference; else the base model is */
  continued: boolean;
}

/**
 * Direct preference optimization: makes chosen completions more likely than rejected ones, relative to a reference
 * model.
 *
 * @throws as `train`
 * @see Rafailov et al. 2023, arXiv:2305.18290; TRL's DPOTrainer
 */
export async function* dpo(
  trainee: Trainee,
  data: DpoData,
  recipe: DpoRecipe,
  options: DpoOptions,
): AsyncGenerator<DpoEvent> {
  const { model } = trainee;
  // before a checkpoint is restored, because the model is still in its initial state
  const precomputed = recipe.precompute_ref_log_probs ? await precompute(model, data, recipe, options) : data;
  const reference = recipe.precompute_ref_log_probs ? null : referenceOf(model, data.continued);
  yield* train(trainee, new Dpo(model, reference, precomputed, recipe), recipe, options);
}

/** Pairs of one reference pass, in training and in evaluation. */
export function referenceBatches(recipe: DpoRecipe): { train: number; eval: number } {
  const { precompute_ref_batch_size: given, per_device_train_batch_size, per_device_eval_batch_size } = recipe;
  return { train: given ?? per_device_train_batch_size, eval: given ?? per_device_eval_batch_size };
}

/** Pairs with what the model sees of their images. */
async function seenBy(
  model: Transformer,
  pairs: readonly DpoPair[],
  { images: source }: Pick<DpoData, "images">,
): Promise<DpoPair[]> {
  const made: DpoPair[] = [];
  for (const pair of pairs) {
    made.push(pair.row_images && source ? { ...pair, seen: await source(model, pair.row_images) } : pair);
  }
  return made;
}

/** The untrained model itself is the reference: a new adapter has no effect. */
async function precompute(
  model: Transformer,
  data: DpoData,
  recipe: DpoRecipe,
  { signal, onProgress }: DpoOptions,
): Promise<DpoData> {
  const sizes = referenceBatches(recipe);
  const total = data.train.length + (data.eval?.length ?? 0);
  let done = 0;
  const take = async (pairs: readonly TokenizedPair[], size: number): Promise<DpoPair[]> => {
    const made: DpoPair[] = [];
    for (let at = 0; at < pairs.length; at += size) {
      if (signal?.aborted) throw new AbortError("Stopped before the first step; nothing was written");
      const part = pairs.slice(at, at + size);
      const seen = await seenBy(model, part, data);
      const record = model.gpu.recorder();
      const pending = referenceLogps(record, model, seen);
      record.submit();
      model.gpu.endStep();
      const logps = await pending;
      made.push(...part.map((pair, i) => ({ ...pair, ...logps[i] })));
      done += part.length;
      onProgress?.("reference log-probs", done, total);
    }
    return made;
  };
  return {
    ...data,
    train: await take(data.train, sizes.train),
    eval: data.eval && (await take(data.eval, sizes.eval)),
  };
}

interface DpoStepResult extends StepResult {
  /** of each micro-batch */
  metrics: Record<string, number>[];
}

class Dpo implements TrainingMethod<DpoStepEvent, DpoStepResult> {
  readonly batches: DpoBatches;
  readonly fingerprint: number;
  readonly otherData = "other pairs, or on the same ones cut otherwise";
  readonly bestMetric = "loss";
  readonly evaluates: boolean;
  readonly evaluatesBeforeStop = true;
  readonly speed = new TokensPerSecond();
  private readonly model: Transformer;
  private readonly reference: Transformer | null;
  private readonly data: DpoData;
  private readonly recipe: DpoRecipe;
  private readonly since = new Means();

  constructor(model: Transformer, reference: Transformer | null, data: DpoData, recipe: DpoRecipe) {
    this.model = model;
    this.reference = reference;
    this.data = data;
    this.recipe = recipe;
    this.batches = new DpoBatches(data.train, recipe);
    this.fingerprint = this.batches.fingerprint();
    this.evaluates = data.eval !== null;
  }

  step(context: StepContext<DpoStepEvent>) {
    const micro = this.batches.step(context.step).map((rows) => rows.map((row) => this.data.train[row]));
    const sees = micro.some((pairs) => pairs.some(({ row_images }) => row_images));
    return sees ? this.withImages(context, micro) : this.submit(context, micro);
  }

  /** A step on pairs with images, whose features may have to be read or computed first. */
  // biome-ignore lint/correctness/useYield: the loop takes a step that waits as a generator
  private async *withImages(
    context: StepContext<DpoStepEvent>,
    micro: readonly (readonly DpoPair[])[],
  ): AsyncGenerator<TrainEvent | DpoStepEvent, Submitted<DpoStepResult>> {
    const seen: DpoPair[][] = [];
    for (const pairs of micro) seen.push(await seenBy(this.model, pairs, this.data));
    return this.submit(context, seen);
  }

  private submit(
    { step, learning_rate, record, optimizer }: StepContext<DpoStepEvent>,
    micro: readonly (readonly DpoPair[])[],
  ): Submitted<DpoStepResult> {
    const { model, reference, recipe } = this;
    model.store!.clearGrads(record);
    const results = micro.map((pairs, i) => {
      const training = { micros: micro.length, dropoutSeed: mixSeed(recipe.seed, 1, step, i) };
      return dpoObjective(record, model, reference, pairs, recipe, training);
    });
    const { max_grad_norm } = recipe;
    const norm = update(record, model.store!, optimizer, { step, learning_rate, max_grad_norm });
    const tokens = micro.flat().reduce((sum, pair) => sum + tokensOf(pair), 0);
    return { result: collect(results, norm, { step, learning_rate, tokens }) };
  }

  taken({ step, tokens, loss, metrics }: DpoStepResult): DpoStepEvent {
    for (const values of [{ loss }, ...metrics]) this.since.add(values);
    const margin = metrics.reduce((sum, values) => sum + values["rewards/margins"], 0) / metrics.length;
    return { type: "step", step: step + 1, tokens, loss, margin };
  }

  means(): { loss: number; [name: string]: number } {
    return this.since.take() as { loss: number };
  }

  /** As in TRL: the loss is the mean over pairs, all other metrics are means over batches. */
  async evaluate(): Promise<Record<string, number>> {
    const { model, reference, recipe, data } = this;
    const means = new Means();
    let loss = 0;
    for (let at = 0; at < data.eval!.length; at += recipe.per_device_eval_batch_size) {
      const pairs = await seenBy(model, data.eval!.slice(at, at + recipe.per_device_eval_batch_size), data);
      const record = model.gpu.recorder();
      const pending = dpoObjective(record, model, reference, pairs, recipe, null);
      record.submit();
      model.gpu.endStep();
      const result = await pending;
      loss += result.loss * result.pairs;
      means.add(result.metrics);
    }
    return { loss: loss / data.eval!.length, ...means.take() };
  }

  get sinceLog(): Record<string, number> {
    return this.since.state;
  }

  set sinceLog(sums: Record<string, number>) {
    this.since.state = sums;
  }
}

async function collect(
  results: readonly Promise<DpoResult>[],
  norm: Promise<ArrayBuffer>,
  known: { step: number; learning_rate: number; tokens: number },
): Promise<DpoStepResult> {
  const made = await Promise.all(results);
  return {
    ...known,
    loss: made.reduce((sum, { loss }) => sum + loss, 0) / made.length,
    grad_norm: new Float32Array(await norm)[0],
    metrics: made.map(({ metrics }) => metrics),
  };
}
