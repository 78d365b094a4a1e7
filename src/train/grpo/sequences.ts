import { DataError } from "../../errors.ts";
import type { PackedBatch, Targets } from "../../model/transformer.ts";
import { joinImages, type SeenImages } from "../../model/vision/images.ts";

/** One prompt with one completion, its advantage and log-probs. */
export interface GrpoSequence {
  /** at least one token */
  prompt_ids: ArrayLike<number>;
  /** without padding; includes the EOS token */
  completion_ids: ArrayLike<number>;
  /** [completion] 1 for tokens that count; absent: all count. All 0: a masked, truncated completion */
  completion_mask?: ArrayLike<number> | null;
  /** of the prompt, after the frozen vision tower; null or absent: it has none */
  images?: SeenImages | null;
  advantage: number;
  /** [completion] log-probs at generation; null: on-policy, the ratio is 1 */
  old_logps: ArrayLike<number> | null;
  /** [completion] log-probs of the reference model; null if beta is 0 */
  ref_logps: ArrayLike<number> | null;
}

/** Concatenated sequences, with the rows that predict completion tokens. */
export interface PackedSequences {
  batch: PackedBatch;
  /** rows and tokens of all unmasked targets, sequence by sequence */
  targets: Targets;
  /** [sequences + 1]: first target of each sequence, then the number of targets */
  starts: number[];
  /** [targets] index of each target in its completion */
  positions: number[];
}

type Tokens = Pick<GrpoSequence, "prompt_ids" | "completion_ids" | "completion_mask" | "images">;

/**
 * Packs prompts with their completions. A fully masked sequence adds no tokens and keeps its entry in `starts`.
 *
 * @throws {DataError} an empty prompt; a mask of another length
 */
export function packSequences(sequences: readonly Tokens[]): PackedSequences {
  const input_ids: number[] = [];
  const position_ids: number[] = [];
  const cu_seqlens = [0];
  const rows: number[] = [];
  const tokens: number[] = [];
  const starts = [0];
  const positions: number[] = [];
  const seen: SeenImages[] = [];
  sequences.forEach(({ prompt_ids, completion_ids, completion_mask, images }, s) => {
    const [prompt, completion] = [prompt_ids.length, completion_ids.length];
    if (prompt === 0) {
      throw new DataError(
        `Cannot train on completion ${s + 1}: its prompt is empty, but the first completion token needs a token before it`,
      );
    }
    checkLength("completion_mask", completion_mask ?? null, completion, s);
    const first = input_ids.length;
    for (let t = 0; t < completion; t++) {
      if (completion_mask && !completion_mask[t]) continue;
      rows.push(first + prompt + t - 1);
      tokens.push(completion_ids[t]);
      positions.push(t);
    }
    if (rows.length > starts[s]) {
      // nothing reads the tokens after the last target row
      const length = rows[rows.length - 1] + 1 - first;
      for (let t = 0; t < length; t++) {
        input_ids.push(t < prompt ? prompt_ids[t] : completion_ids[t - prompt]);
        position_ids.push(t);
      }
      cu_seqlens.push(input_ids.length);
      if (images) seen.push(images);
    }
    starts.push(rows.length);
  });
  return {
    batch: { input_ids, position_ids, cu_seqlens, ...(seen.length > 0 && { images: joinImages(seen) }) },
    targets: { rows: Uint32Array.from(rows), tokens: Uint32Array.from(tokens) },
    starts,
    positions,
  };
}

/**
 * A per-token field of all sequences, one value per target.
 *
 * @returns null if no sequence has the field
 * @throws {DataError} a length other than the completion's; only some sequences have the field
 */
export function perTarget(
  sequences: readonly GrpoSequence[],
  { starts, positions }: PackedSequences,
  field: "old_logps" | "ref_logps",
): Float32Array | null {
  const without = sequences.findIndex((s) => s[field] === null);
  const given = sequences.findIndex((s) => s[field] !== null);
  if (given < 0) return null;
  if (without >= 0) {
    throw new DataError(
      `Cannot train on a micro-batch in which completion ${given + 1} has ${field} and completion ${without + 1} does not: give it for all completions or for none`,
    );
  }
  const out = new Float32Array(positions.length);
  sequences.forEach((sequence, s) => {
    const values = sequence[field]!;
    checkLength(field, values, sequence.completion_ids.length, s);
    for (let i = starts[s]; i < starts[s + 1]; i++) out[i] = values[positions[i]];
  });
  return out;
}

function checkLength(name: string, values: ArrayLike<number> | null, length: number, s: number): void {
  if (values && values.length !== length) {
    throw new DataError(
      `Cannot train on completion ${s + 1}: it has ${length} tokens, but its ${name} has ${values.length} values`,
    );
  }
}
