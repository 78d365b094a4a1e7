import type { TokenizedRow } from "../../data/tokenize.ts";
import { QwenchError, TrainingError } from "../../errors.ts";
import type { Folder } from "../../io/storage.ts";
import type { Transformer } from "../../model/transformer.ts";
import type { SftRecipe } from "../../recipe/recipe.ts";
import type { ExtraFile, Trainee } from "../checkpoint.ts";
import { train } from "../loop.ts";
import type { StepContext, Submitted, TrainEvent, TrainingMethod, TrainOptions } from "../method.ts";
import { TokensPerSecond } from "../speed.ts";
import { type MicroBatch, microBatch, SftBatches, StreamedSteps } from "./batches.ts";
import { RowStream, readPlace, type StreamedRows } from "./row-stream.ts";
import { evalBatches, evaluate, type ImageSource, type SftResult, seesImages, sftStep, withImages } from "./step.ts";

/** A finished step; its numbers arrive one step late. */
type SftStepEvent = { type: "step"; step: number; tokens: number; loss: number };
/** Events of an SFT run: the loop's events, and steps. */
export type SftEvent = TrainEvent | SftStepEvent;

/** Options of an SFT run. */
export type SftOptions = TrainOptions;

/** Training rows and evaluation rows. */
export interface SftData {
  train: readonly TokenizedRow[] | StreamedRows;
  eval: readonly TokenizedRow[] | null;
  /** what is seen of rows' images; null: rows have none */
  images?: ImageSource | null;
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
  readonly batches: SftBatches | StreamedSteps;
  readonly fingerprint: number;
  readonly otherData = "other rows, or on the same rows with other truncation or packing";
  readonly bestMetric = "loss";
  readonly evaluates: boolean;
  readonly evaluatesBeforeStop = true;
  readonly speed = new TokensPerSecond();
  private readonly model: Transformer;
  readonly verify: ((checkpoint: Folder) => Promise<unknown>) | undefined;
  private readonly data: SftData;
  private readonly stream: RowStream | null;
  private readonly recipe: SftRecipe;
  private sums = nothing();

  constructor(model: Transformer, data: SftData, recipe: SftRecipe) {
    this.model = model;
    this.data = data;
    this.recipe = recipe;
    if ("rows" in data.train) {
      this.stream = new RowStream(data.train);
      this.batches = new StreamedSteps(recipe);
      this.fingerprint = data.train.fingerprint;
      this.verify = readPlace;
    } else {
      this.stream = null;
      const batches = new SftBatches(data.train, recipe);
      this.batches = batches;
      this.fingerprint = batches.fingerprint();
    }
    this.evaluates = data.eval !== null;
  }

  step(context: StepContext<SftStepEvent>) {
    if (!("step" in this.batches)) return this.streamed(context);
    const micro = this.batches.step(context.step);
    return seesImages(micro) ? this.withImages(context, micro) : this.submit(context, micro);
  }

  /** A step on the next rows of the stream. */
  private async *streamed(
    context: StepContext<SftStepEvent>,
  ): AsyncGenerator<TrainEvent | SftStepEvent, Submitted<SftResult>> {
    const { per_device_train_batch_size: size, gradient_accumulation_steps: passes } = this.recipe;
    const micro: MicroBatch[] = [];
    const stream = this.stream!;
    const before = stream.here;
    try {
      for (let pass = 0; pass < passes; pass++) {
        micro.push(microBatch((await stream.next(size, context.signal)).flat()));
      }
    } catch (error) {
      stream.go(before); // the checkpoint of the earlier steps reads this step's rows again
      yield* context.settle();
      throw yield* context.giveUp(error instanceof QwenchError ? new TrainingError(error.message) : error);
    }
    return this.submit(context, micro);
  }

  /** A step on rows with images, which have to be read first, and whose features may have to be computed. */
  // biome-ignore lint/correctness/useYield: the loop takes a step that waits as a generator
  private async *withImages(
    context: StepContext<SftStepEvent>,
    micro: readonly MicroBatch[],
  ): AsyncGenerator<TrainEvent | SftStepEvent, Submitted<SftResult>> {
    const seen: MicroBatch[] = [];
    for (const each of micro) seen.push(await withImages(this.model, each, this.data.images!));
    return this.submit(context, seen);
  }

  private submit(
    { step, learning_rate, record, optimizer }: StepContext<SftStepEvent>,
    micro: readonly MicroBatch[],
  ): Submitted<SftResult> {
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
    return { result: sftStep(record, this.model, optimizer, micro, options) };
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
    const { images = null } = this.data;
    return evaluate(this.model, batches, { labelSmoothing, loss_type, images });
  }

  /** The stream's place. */
  files(): ExtraFile[] {
    return this.stream ? [this.stream.file()] : [];
  }

  async restore(checkpoint: Folder): Promise<void> {
    this.stream?.go(await readPlace(checkpoint));
  }

  get sinceLog(): SinceLog {
    return { ...this.sums };
  }

  set sinceLog(sums: Record<string, number>) {
    this.sums = sums as SinceLog;
  }
}
