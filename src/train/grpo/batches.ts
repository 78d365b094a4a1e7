import { epochOrder } from "../../data/sampler.ts";
import { DataError } from "../../errors.ts";
import { fnvNext, fnvNumbers } from "../../text/hash.ts";
import { epochAfter } from "../epoch.ts";
import { mixSeed } from "../seed.ts";

/** Fields of a recipe that decide which completions a step trains on, by TRL's names. */
export interface GrpoBatchOptions {
  /** completions of one micro-batch */
  per_device_train_batch_size: number;
  gradient_accumulation_steps: number;
  num_generations: number;
  /** micro-batches per generation batch */
  steps_per_generation: number;
  /** passes over a generation batch */
  num_iterations: number;
  num_train_epochs: number;
  /** −1: as many as the epochs need */
  max_steps: number;
  shuffle_dataset: boolean;
  seed: number;
  data_seed: number | null;
}

/** One micro-batch: a slice of a generation batch. */
interface MicroStep {
  /** number of the generation batch, from 0 over the whole run */
  generation: number;
  /** from 0 to steps_per_generation − 1 */
  slice: number;
}

/**
 * The prompts of each generation batch, and the completions of each micro-batch, as functions of the step number alone.
 *
 * As in TRL: a generation batch has per_device_train_batch_size × steps_per_generation completions, num_generations per
 * prompt. It is shuffled, split into steps_per_generation micro-batches and used num_iterations times. An epoch skips
 * the prompts at its end that do not fill a generation batch.
 */
export class GrpoBatches {
  /** completions of a generation batch */
  readonly size: number;
  /** prompts of a generation batch */
  readonly prompts: number;
  /** optimizer steps of one pass over the prompts */
  readonly stepsPerEpoch: number;
  readonly max_steps: number;
  private readonly rows: number;
  private readonly generationsPerEpoch: number;
  private readonly microBatchesPerEpoch: number;
  private readonly options: GrpoBatchOptions;

  /** @throws {DataError} num_generations does not divide the batch; too few prompts for a generation batch */
  constructor(rows: number, options: GrpoBatchOptions) {
    const {
      per_device_train_batch_size: batch,
      steps_per_generation,
      num_generations,
      num_iterations,
      gradient_accumulation_steps: accumulation,
    } = options;
    this.options = options;
    this.rows = rows;
    this.size = batch * steps_per_generation;
    if (this.size % num_generations !== 0) {
      throw new DataError(
        `Cannot cut generation batches of ${this.size} completions (per_device_train_batch_size ${batch} × steps_per_generation ${steps_per_generation}) into groups of num_generations ${num_generations}`,
      );
    }
    this.prompts = this.size / num_generations;
    if (rows < this.prompts) {
      throw new DataError(
        `Cannot fill a generation batch: it needs ${this.prompts} prompts (${this.size} completions, num_generations ${num_generations}), but there are ${rows}`,
      );
    }
    this.generationsPerEpoch = Math.floor(rows / this.prompts);
    this.microBatchesPerEpoch = this.generationsPerEpoch * steps_per_generation * num_iterations;
    this.stepsPerEpoch = Math.ceil(this.microBatchesPerEpoch / accumulation);
    this.max_steps =
      options.max_steps > 0 ? options.max_steps : Math.ceil(options.num_train_epochs * this.stepsPerEpoch);
  }

  /**
   * Whether a step trains on completions of an older model, so that their log-probs must be kept. TRL's rule:
   * gradient_accumulation_steps is not a multiple of the micro-batches that one generation batch serves.
   */
  get offPolicy(): boolean {
    const { gradient_accumulation_steps, steps_per_generation, num_iterations } = this.options;
    return gradient_accumulation_steps % (steps_per_generation * num_iterations) !== 0;
  }

  /** `epoch` of the logs after this many optimizer steps. */
  epochAfter(steps: number): number {
    const { microBatchesPerEpoch, stepsPerEpoch } = this;
    const { gradient_accumulation_steps } = this.options;
    return epochAfter(steps, { microBatchesPerEpoch, stepsPerEpoch, gradient_accumulation_steps });
  }

  /** The micro-batches of optimizer step `step`, counted from 0. The last step of an epoch may have fewer. */
  step(step: number): MicroStep[] {
    const { gradient_accumulation_steps: accumulation, steps_per_generation, num_iterations } = this.options;
    const uses = steps_per_generation * num_iterations;
    const epoch = Math.floor(step / this.stepsPerEpoch);
    const first = (step % this.stepsPerEpoch) * accumulation;
    const end = Math.min(first + accumulation, this.microBatchesPerEpoch);
    return Array.from({ length: end - first }, (_, i) => ({
      generation: epoch * this.generationsPerEpoch + Math.floor((first + i) / uses),
      slice: (first + i) % steps_per_generation,
    }));
  }

  /** The rows of generation batch `generation`. */
  promptsOf(generation: number): number[] {
    const { shuffle_dataset, data_seed, seed } = this.options;
    const epoch = Math.floor(generation / this.generationsPerEpoch);
    const at = (generation % this.generationsPerEpoch) * this.prompts;
    const order = epochOrder(this.rows, epoch, data_seed ?? seed, shuffle_dataset ? "random" : "sequential");
    return [...order.subarray(at, at + this.prompts)];
  }

  /** The completions of a slice, by their index in the generation batch. */
  slice({ generation, slice }: MicroStep): number[] {
    const { per_device_train_batch_size: batch, data_seed, seed } = this.options;
    const order = epochOrder(this.size, generation, mixSeed(data_seed ?? seed, 5));
    return [...order.subarray(slice * batch, (slice + 1) * batch)];
  }

  /** A number that changes with the prompts or their order. */
  fingerprint(prompts: readonly { prompt_ids: ArrayLike<number>; row_images?: readonly { key: string }[] }[]): number {
    const { per_device_train_batch_size, gradient_accumulation_steps, num_generations } = this.options;
    const { steps_per_generation, num_iterations } = this.options;
    let h = fnvNumbers([per_device_train_batch_size, gradient_accumulation_steps, num_generations]);
    h = fnvNumbers([steps_per_generation, num_iterations], h);
    for (const { prompt_ids, row_images = [] } of prompts) {
      h = fnvNumbers(prompt_ids, fnvNext(h, prompt_ids.length));
      for (const { key } of row_images) h = fnvNext(h, Number.parseInt(key.slice(0, 8), 16));
    }
    return h >>> 0;
  }
}
