import type { TokenizedPair } from "../../data/preferences.ts";
import type { PackedBatch, Targets } from "../../model/transformer.ts";
import { joinImages, type SeenImages } from "../../model/vision/images.ts";

/** Concatenated completions of pairs, chosen ones first, with the rows that predict completion tokens. */
export interface PackedPairs {
  batch: PackedBatch;
  /** rows and tokens of all targets, completion by completion */
  targets: Targets;
  /** [2 pairs + 1]: first target of each completion, then the number of targets */
  starts: number[];
  /** [2 pairs] tokens of each completion: one more than its targets if nothing precedes its first token */
  tokens: number[];
}

/**
 * Packs pairs for one pass: first all prompts with their chosen completions, then with the rejected ones, as in TRL's
 * batches, but without padding.
 */
export function packPairs(pairs: readonly DpoPair[]): PackedPairs {
  const completions = [...pairs.map(({ chosen }) => chosen), ...pairs.map(({ rejected }) => rejected)];
  const length = completions.reduce((sum, { input_ids }) => sum + input_ids.length, 0);
  const input_ids = new Int32Array(length);
  const position_ids = new Int32Array(length);
  const [cu_seqlens, starts] = [[0], [0]];
  const rows: number[] = [];
  const tokens: number[] = [];
  let at = 0;
  for (const { input_ids: ids, prompt } of completions) {
    for (let t = 0; t < ids.length; t++) {
      input_ids[at + t] = ids[t];
      position_ids[at + t] = t;
      if (t < Math.max(1, prompt)) continue;
      rows.push(at + t - 1);
      tokens.push(ids[t]);
    }
    at += ids.length;
    cu_seqlens.push(at);
    starts.push(rows.length);
  }
  const seen = pairs.flatMap((pair) => pair.seen ?? []);
  return {
    batch: {
      input_ids,
      position_ids,
      cu_seqlens,
      ...(seen.length > 0 && { images: joinImages([...seen, ...seen]) }), // both completions see them
    },
    targets: { rows: Uint32Array.from(rows), tokens: Uint32Array.from(tokens) },
    starts,
    tokens: completions.map(({ input_ids: ids, prompt }) => ids.length - prompt),
  };
}

/** Summed log-probs of a pair's two completions under the reference model, nats. */
export interface ReferenceLogps {
  ref_chosen_logps: number;
  ref_rejected_logps: number;
}

/** Pairs, with the reference's log-probs if known, and what the model sees of their images. */
export type DpoPair = TokenizedPair & Partial<ReferenceLogps> & { seen?: SeenImages | null };
