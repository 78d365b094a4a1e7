import { DataError } from "../../errors.ts";
import type { PackedBatch, Targets } from "../../model/transformer.ts";

/** One prompt with one completion, and what GRPO knows of it. */
export interface GrpoSequence {
  /** at least one token */
  prompt_ids: ArrayLike<number>;
  /** without padding; the EOS token belongs to it */
  completion_ids: ArrayLike<number>;
  /** [completion] 1 where a token counts; absent: all do. All 0: a truncated completion that is masked */
  completion_mask?: ArrayLike<number> | null;
  advantage: number;
  /** [completion] log-probs when it was generated; null: on-policy, the ratio is 1 */
  old_logps: ArrayLike<number> | null;
  /** [completion] log-probs of the reference; null where beta is 0 */
  ref_logps: ArrayLike<number> | null;
}

/** Sequences end to end, with the rows that predict completion tokens. */
export interface PackedSequences {
  batch: PackedBatch;
  /** rows and tokens of everything that counts, sequence by sequence */
  targets: Targets;
  /** [sequences + 1]: first of each sequence's targets, and their number */
  starts: number[];
  /** [targets] which completion token each one is */
  positions: number[];
}

type Tokens = Pick<GrpoSequence, "prompt_ids" | "completion_ids" | "completion_mask">;

/**
 * Packs prompts with their completions. A sequence of which nothing counts takes no tokens, and keeps its place in `starts`.
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
  sequences.forEach(({ prompt_ids, completion_ids, completion_mask }, s) => {
    const [prompt, completion] = [prompt_ids.length, completion_ids.length];
    if (prompt === 0) {
      throw new DataError(
        `Cannot train on completion ${s + 1}: its prompt is empty, and its first token needs one before it`,
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
      // nothing reads what lies behind the last row
      const length = rows[rows.length - 1] + 1 - first;
      for (let t = 0; t < length; t++) {
        input_ids.push(t < prompt ? prompt_ids[t] : completion_ids[t - prompt]);
        position_ids.push(t);
      }
      cu_seqlens.push(input_ids.length);
    }
    starts.push(rows.length);
  });
  return {
    batch: { input_ids, position_ids, cu_seqlens },
    targets: { rows: Uint32Array.from(rows), tokens: Uint32Array.from(tokens) },
    starts,
    positions,
  };
}

/**
 * One value a target of what each sequence holds for its completion tokens.
 *
 * @returns null where no sequence has any
 * @throws {DataError} a length that is not the completion's; a value for some sequences only
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
      `Cannot train on a micro-batch in which completion ${given + 1} has ${field} and completion ${without + 1} has none: all or none`,
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
      `Cannot train on completion ${s + 1}: it has ${length} tokens, its ${name} ${values.length} values`,
    );
  }
}
