import { makeBatch, type PackedBatch, type PackingStrategy, packRows } from "../../data/packing.ts";
import { epochOrder } from "../../data/sampler.ts";
import type { TokenizedRow } from "../../data/tokenize.ts";
import { DataError } from "../../errors.ts";
import { shiftedTargets, type Targets } from "../../model/transformer.ts";
import type { BatchImages } from "../../model/vision/images.ts";
import { FNV_START, fnvNext } from "../../text/hash.ts";
import { RowBatches, type RowBatchOptions } from "../row-batches.ts";

/** Fields of a recipe that select a step's rows, by TRL's names. */
interface BatchOptions extends RowBatchOptions {
  packing: boolean;
  packing_strategy: PackingStrategy;
  max_length: number | null;
  shuffle_dataset: boolean;
}

/** One forward and backward pass. */
export interface MicroBatch {
  batch: PackedBatch & { images?: BatchImages };
  targets: Targets;
}

/** One pass over these rows. */
export function microBatch(rows: readonly TokenizedRow[]): MicroBatch {
  const batch = makeBatch(rows);
  return { batch, targets: shiftedTargets(batch, batch.labels) };
}

/** The steps of a run whose rows are streamed: their number is max_steps, which counts as one epoch, as in transformers. */
export class StreamedSteps {
  readonly max_steps: number;
  readonly stepsPerEpoch: number;

  constructor({ max_steps }: Pick<BatchOptions, "max_steps">) {
    this.max_steps = max_steps;
    this.stepsPerEpoch = max_steps;
  }

  epochAfter(steps: number): number {
    return steps / this.max_steps;
  }
}

/** The rows of every step, as a function of its number: a resumed run needs no other state. */
export class SftBatches {
  /** rows, or with packing, bins of rows */
  readonly examples: readonly (readonly TokenizedRow[])[];
  private readonly order: RowBatches;

  constructor(rows: readonly TokenizedRow[], options: BatchOptions) {
    if (rows.length === 0) throw new DataError("Cannot train: there are no rows");
    const seed = options.data_seed ?? options.seed;
    const shuffled = options.shuffle_dataset ? [...epochOrder(rows.length, 0x5f0f, seed)].map((i) => rows[i]) : rows;
    if (options.packing && options.max_length === null)
      throw new DataError("Cannot pack rows without max_length: bins need a size");
    this.examples = options.packing
      ? packRows(shuffled, { max_length: options.max_length!, strategy: options.packing_strategy })
      : shuffled.map((row) => [row]);
    const lengths = this.examples.map((example) => example.reduce((n, row) => n + row.input_ids.length, 0));
    this.order = new RowBatches(lengths, options);
  }

  /** optimizer steps of one pass over the data */
  get stepsPerEpoch(): number {
    return this.order.stepsPerEpoch;
  }

  get max_steps(): number {
    return this.order.max_steps;
  }

  /** `epoch` of the logs after so many optimizer steps. */
  epochAfter(steps: number): number {
    return this.order.epochAfter(steps);
  }

  /** The micro-batches of optimizer step `step`, counted from 0. */
  step(step: number): MicroBatch[] {
    return this.order.step(step).map((examples) => microBatch(examples.flatMap((i) => this.examples[i])));
  }

  /** The run's step with the most tokens in one micro-batch, for the memory forecast. */
  largest(from = 0): MicroBatch[] {
    return this.step(this.order.largest(from));
  }

  /** A number that changes with the rows, their labels or their order. */
  fingerprint(): number {
    let h = FNV_START;
    for (const example of this.examples) {
      for (const { input_ids, labels, images = [] } of example) {
        h = fnvNext(h, input_ids.length);
        for (const { key } of images) h = fnvNext(h, Number.parseInt(key.slice(0, 8), 16));
        for (let i = 0; i < input_ids.length; i++) h = fnvNext(fnvNext(h, input_ids[i]), labels[i]);
      }
    }
    return h >>> 0;
  }
}
