import { epochOrder, type SamplingStrategy } from "../data/sampler.ts";
import { epochAfter } from "./epoch.ts";

/** Fields of a recipe that select a step's rows, by TRL's names. */
export interface RowBatchOptions {
  per_device_train_batch_size: number;
  gradient_accumulation_steps: number;
  num_train_epochs: number;
  /** −1: as many as the epochs need */
  max_steps: number;
  train_sampling_strategy: SamplingStrategy;
  seed: number;
  data_seed: number | null;
}

/**
 * The rows of each micro-batch of every step, as a function of the step's number: a resumed run needs no other state.
 *
 * @param lengths tokens of each row
 */
export class RowBatches {
  /** optimizer steps of one pass over the rows */
  readonly stepsPerEpoch: number;
  readonly max_steps: number;
  private readonly microBatchesPerEpoch: number;
  private readonly lengths: readonly number[];
  private readonly options: RowBatchOptions;
  private readonly orders = new Map<number, Uint32Array>();

  constructor(lengths: readonly number[], options: RowBatchOptions) {
    this.lengths = lengths;
    this.options = options;
    this.microBatchesPerEpoch = Math.ceil(lengths.length / options.per_device_train_batch_size);
    this.stepsPerEpoch = Math.ceil(this.microBatchesPerEpoch / options.gradient_accumulation_steps);
    this.max_steps =
      options.max_steps > 0 ? options.max_steps : Math.ceil(options.num_train_epochs * this.stepsPerEpoch);
  }

  /** `epoch` of the logs after this many optimizer steps. */
  epochAfter(steps: number): number {
    const { microBatchesPerEpoch, stepsPerEpoch } = this;
    const { gradient_accumulation_steps } = this.options;
    return epochAfter(steps, { microBatchesPerEpoch, stepsPerEpoch, gradient_accumulation_steps });
  }

  /** The rows of each micro-batch of optimizer step `step`, counted from 0. */
  step(step: number): number[][] {
    const order = this.order(Math.floor(step / this.stepsPerEpoch));
    const { per_device_train_batch_size: size, gradient_accumulation_steps: accumulation } = this.options;
    const first = (step % this.stepsPerEpoch) * size * accumulation;
    const micro: number[][] = [];
    for (let at = first; at < Math.min(first + size * accumulation, order.length); at += size) {
      micro.push([...order.subarray(at, Math.min(at + size, order.length))]);
    }
    return micro;
  }

  /** The run's step with the most tokens in one micro-batch, for the memory forecast. */
  largest(from = 0): number {
    let best = from;
    let most = -1;
    // A long run repeats the same rows: a few epochs are enough.
    const until = Math.min(this.max_steps, from + 2 * this.stepsPerEpoch);
    for (let step = from; step < until; step++) {
      const tokens = Math.max(...this.step(step).map((rows) => rows.reduce((n, row) => n + this.lengths[row], 0)));
      if (tokens > most) [best, most] = [step, tokens];
    }
    return best;
  }

  private order(epoch: number): Uint32Array {
    let order = this.orders.get(epoch);
    if (!order) {
      const { train_sampling_strategy, per_device_train_batch_size: batch_size, data_seed, seed } = this.options;
      const { lengths } = this;
      order = epochOrder(lengths.length, epoch, data_seed ?? seed, train_sampling_strategy, { lengths, batch_size });
      this.orders.set(epoch, order);
      if (this.orders.size > 2) this.orders.delete(epoch - 2);
    }
    return order;
  }
}
