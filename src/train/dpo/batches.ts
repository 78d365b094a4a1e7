import type { TokenizedCompletion, TokenizedPair } from "../../data/preferences.ts";
import { DataError } from "../../errors.ts";
import { FNV_START, fnvNext, fnvNumbers } from "../../text/hash.ts";
import { RowBatches, type RowBatchOptions } from "../row-batches.ts";

/** Tokens of both completions with their prompts. */
export function tokensOf({ chosen, rejected }: TokenizedPair): number {
  return chosen.input_ids.length + rejected.input_ids.length;
}

/** The pairs of each micro-batch of every step, as a function of the step's number. */
export class DpoBatches extends RowBatches {
  private readonly pairs: readonly TokenizedPair[];

  constructor(pairs: readonly TokenizedPair[], options: RowBatchOptions) {
    if (pairs.length === 0) throw new DataError("Cannot train: there are no pairs");
    super(pairs.map(tokensOf), options);
    this.pairs = pairs;
  }

  /** A number that changes with the pairs or their order. */
  fingerprint(): number {
    const next = (h: number, { input_ids, prompt }: TokenizedCompletion) =>
      fnvNumbers(input_ids, fnvNext(fnvNext(h, input_ids.length), prompt));
    const images = (h: number, { row_images = [] }: TokenizedPair) =>
      row_images.reduce((own, { key }) => fnvNext(own, Number.parseInt(key.slice(0, 8), 16)), h);
    return this.pairs.reduce((h, pair) => images(next(next(h, pair.chosen), pair.rejected), pair), FNV_START) >>> 0;
  }
}
