import { makeBatch, type PackedBatch, type PackingStrategy, packRows } from "../../data/packing.ts";
import { epochOrder, type SamplingStrategy } from "../../data/sampler.ts";
import type { TokenizedRow } from "../../data/tokenize.ts";
import { DataError } from "../../errors.ts";
import { shiftedTargets, type Targets } from "../../model/transformer.ts";
import { FNV_START, fnvNext } from "../../text/hash.ts";
import { epochAfter } from "../epoch.ts";

/** Fields of a recipe that select a step's rows, by TRL's names. */
interface BatchOptions {
  per_device_train_batch_size: number;
  gradient_accumulation_steps: number;
  num_train_epochs: number;
  /** −1: as many as the epochs need */
  max_steps: number;
  packing: boolean;
  packing_strategy: PackingStrategy;
  max_length: number | null;
  train_sampling_strategy: SamplingStrategy;
  shuffle_dataset: boolean;
  seed: number;
  data_seed: number | null;
}

/** One forward and backward pass. */
export interface MicroBatch {
  batch: PackedBatch;
  targets: Targets;
}

/** The rows of every step, as a function of its number: a resumed run needs no other state. */
export class SftBatches {
  /** optimizer steps of one pass over the data */
  readonly stepsPerEpoch: number;
  readonly max_steps: number;
  private readonly microBatchesPerEpoch: number;
  /** rows, or with packing, bins of rows */
  readonly examples: readonly (readonly TokenizedRow[])[];
  private readonly options: BatchOptions;
  private readonly orders = new Map<number, Uint32Array>();

  constructor(rows: readonly TokenizedRow[], options: BatchOptions) {
    if (rows.length === 0) throw new DataError("Cannot train: there are no rows");
    this.options = options;
    const seed = options.data_seed ?? options.seed;
    const shuffled = options.shuffle_dataset ? [...epochOrder(rows.length, 0x5f0f, seed)].map((i) => rows[i]) : rows;
    if (options.packing && options.max_length === null)
      throw new DataError("Cannot pack rows without max_length: bins need a size");
    this.examples = options.packing
      ? packRows(shuffled, { max_length: options.max_length!, strategy: options.packing_strategy })
      : shuffled.map((row) => [row]);
    this.microBatchesPerEpoch = Math.ceil(this.examples.length / options.per_device_train_batch_size);
    this.stepsPerEpoch = Math.ceil(this.microBatchesPerEpoch / options.gradient_accumulation_steps);
    this.max_steps =
      options.max_steps > 0 ? options.max_steps : Math.ceil(options.num_train_epochs * this.stepsPerEpoch);
  }

  /** `epoch` of the logs after so many optimizer steps. */
  epochAfter(steps: number): number {
    const { microBatchesPerEpoch, stepsPerEpoch } = this;
    const { gradient_accumulation_steps } = this.options;
    return epochAfter(steps, { microBatchesPerEpoch, stepsPerEpoch, gradient_accumulation_steps });
  }

  /** The micro-batches of optimizer step `step`, counted from 0. */
  step(step: number): MicroBatch[] {
    const epoch = Math.floor(step / this.stepsPerEpoch);
    const { per_device_train_batch_size: size, gradient_accumulation_steps: accumulation } = this.options;
    const order = this.order(epoch);
    const first = (step % this.stepsPerEpoch) * size * accumulation;
    const micro: MicroBatch[] = [];
    for (let at = first; at < Math.min(first + size * accumulation, order.length); at += size) {
      const rows = [...order.subarray(at, Math.min(at + size, order.length))].flatMap((i) => this.examples[i]);
      const batch = makeBatch(rows);
      micro.push({ batch, targets: shiftedTargets(batch, batch.labels) });
    }
    return micro;
  }

  /** The run's step with the most tokens in one micro-batch, for the memory forecast. */
  largest(from = 0): MicroBatch[] {
    let best = from;
    let most = -1;
    // A long run repeats the same rows: a few epochs are enough.
    const until = Math.min(this.max_steps, from + 2 * this.stepsPerEpoch);
    for (let step = from; step < until; step++) {
      const tokens = this.largestMicro(step);
      if (tokens > most) [best, most] = [step, tokens];
    }
    return this.step(best);
  }

  /** A number that changes with the rows, their labels or their order. */
  fingerprint(): number {
    let h = FNV_START;
    for (const example of this.examples) {
      for (const { input_ids, labels } of example) {
        h = fnvNext(h, input_ids.length);
        for (let i = 0; i < input_ids.length; i++) h = fnvNext(fnvNext(h, input_ids[i]), labels[i]);
      }
    }
    return h >>> 0;
  }

  private largestMicro(step: number): number {
    const order = this.order(Math.floor(step / this.stepsPerEpoch));
    const { per_device_train_batch_size: size, gradient_accumulation_steps: accumulation } = this.options;
    const first = (step % this.stepsPerEpoch) * size * accumulation;
    let most = 0;
    for (let at = first; at < Math.min(first + size * accumulation, order.length); at += size) {
      let tokens = 0;
      for (let i = at; i < Math.min(at + size, order.length); i++)
        for (const row of this.examples[order[i]]) tokens += row.input_ids.length;
      most = Math.max(most, tokens);
    }
    return most;
  }

  private order(epoch: number): Uint32Array {
    let order = this.orders.get(epoch);
    if (!order) {
      const { train_sampling_strategy, per_device_train_batch_size: batch_size, data_seed, seed } = this.options;
      const lengths = this.examples.map((example) => example.reduce((n, row) => n + row.input_ids.length, 0));
      order = epochOrder(this.examples.length, epoch, data_seed ?? seed, train_sampling_strategy, {
        lengths,
        batch_size,
      });
      this.orders.set(epoch, order);
      if (this.orders.size > 2) this.orders.delete(epoch - 2);
    }
    return order;
  }
}
