import type { TokenizedRow } from "../../data/tokenize.ts";
import type { Transformer } from "../../model/transformer.ts";
import type { SftRecipe } from "../../recipe/recipe.ts";
import type { Trainee } from "../checkpoint.ts";
import { train } from "../loop.ts";
import type { StepContext, Submitted, TrainEvent, TrainingMethod, TrainOptions } from "../method.ts";
import { TokensPerSecond } from "../speed.ts";
import { type MicroBatch, SftBatches } from "./batches.ts";
import {
  evalBatches,
  evaluate,
  type FeatureSource,
  type SftResult,
  type StepOptions,
  seesImages,
  sftStep,
  withFeatures,
} from "./step.ts";

/** A finished step; its numbers arrive one step late. */
type SftStepEvent = { type: "step"; step: number; tokens: number; loss: number };
/** Events of an SFT run: the loop's events, and steps. */
export type SftEvent = TrainEvent | SftStepEvent;

/** Options of an SFT run. */
export type SftOptions = TrainOptions;

/** Training rows and evaluation rows. */
export interface SftData {
  train: readonly TokenizedRow[];
  eval: readonly TokenizedRow[] | null;
  /** of rows with images */
  features?: FeatureSource | null;
}

/**
 * Supervised fine-tuning: the cross-entropy of the labelled tokens, smoothed or weighed where the recipe says so.
 *
 * @throws as `train`
 */
export async function* sft(
  trainee: Trainee,
  data: SftData,
  recipe: SftRecipe,
  options: SftOptions,
): AsyncGenerator<SftEvent> {
  yield* train(trainee, new Sft(trainee.model, data, recipe), recipe, options);
}

/** Sums since the last log. */
interface SinceLog extends Record<string, number> {
  steps: number;
  loss: number;
  mean_token_accuracy: number;
  entropy: number;
}

const nothing = (): SinceLog => ({ steps: 0, loss: 0, mean_token_accuracy: 0, entropy: 0 });

class Sft implements TrainingMethod<SftStepEvent, SftResult> {
  readonly batches: SftBatches;
  readonly fingerprint: number;
  readonly otherData = "other rows, or on the same rows with other truncation or packing";
  readonly bestMetric = "loss";
  readonly evaluates: boolean;
  readonly evaluatesBeforeStop = true;
  readonly speed = new TokensPerSecond();
  private readonly model: Transformer;
  private readonly data: SftData;
  private readonly recipe: SftRecipe;
  private sums = nothing();

  constructor(model: Transformer, data: SftData, recipe: SftRecipe) {
    this.model = model;
    this.data = data;
    this.recipe = recipe;
    this.batches = new SftBatches(data.train, recipe);
    this.fingerprint = this.batches.fingerprint();
    this.evaluates = data.eval !== null;
  }

  step(context: StepContext<SftStepEvent>): Submitted<SftResult> | AsyncGenerator<never, Submitted<SftResult>> {
    const { step, learning_rate, record, optimizer } = context;
    const { max_grad_norm, label_smoothing_factor, neftune_noise_alpha, loss_type, seed } = this.recipe;
    const options = {
      step,
      learning_rate,
      max_grad_norm,
      label_smoothing_factor,
      neftune_noise_alpha,
      loss_type,
      seed,
    };
    const micro = this.batches.step(step);
    if (seesImages(micro)) return this.stepWithImages(context, micro, options);
    return { result: sftStep(record, this.model, optimizer, micro, options) };
  }

  /** The same with features, which may have to be read or computed first. */
  // biome-ignore lint/correctness/useYield: the loop takes a step that waits as a generator
  private async *stepWithImages(
    { record, optimizer }: StepContext<SftStepEvent>,
    micro: readonly MicroBatch[],
    options: StepOptions,
  ): AsyncGenerator<never, Submitted<SftResult>> {
    const seen: MicroBatch[] = [];
    for (const each of micro) seen.push(await withFeatures(this.model, each, this.data.features!));
    return { result: sftStep(record, this.model, optimizer, seen, options) };
  }

  taken({ step, tokens, loss, mean_token_accuracy, entropy }: SftResult): SftStepEvent {
    this.sums.steps++;
    this.sums.loss += loss;
    this.sums.mean_token_accuracy += mean_token_accuracy;
    this.sums.entropy += entropy;
    return { type: "step", step: step + 1, tokens, loss };
  }

  means(): { loss: number; mean_token_accuracy: number; entropy: number } {
    const { steps, loss, mean_token_accuracy, entropy } = this.sums;
    this.sums = nothing();
    return { loss: loss / steps, mean_token_accuracy: mean_token_accuracy / steps, entropy: entropy / steps };
  }

  evaluate(): Promise<{ loss: number; mean_token_accuracy: number; entropy: number }> {
    const { per_device_eval_batch_size, label_smoothing_factor: labelSmoothing, loss_type } = this.recipe;
    const batches = evalBatches(this.data.eval!, per_device_eval_batch_size);
    const { features = null } = this.data;
    return evaluate(this.model, batches, { labelSmoothing, loss_type, features });
  }

  get sinceLog(): SinceLog {
    return { ...this.sums };
  }

  set sinceLog(sums: Record<string, number>) {
    this.sums = sums as SinceLog;
  }
}
