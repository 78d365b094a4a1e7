import { ShapeError } from "../errors.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { view } from "../gpu/tensor.ts";
import { spansOf } from "../kernels/attention/attention.ts";
import { chunkTable, type DeltaChunks } from "../kernels/delta/rule.ts";
import type { ModelConfig } from "./config.ts";
import type { PackedBatch, Targets } from "./pass-parts.ts";

/**
 * Uploads the inputs that every block reads: tokens, positions, spans of sequences, chunks of the delta rule, targets.
 *
 * @returns the tensors, and the number of positions that the rotary table needs
 * @throws {ShapeError} a token outside the vocabulary
 */
export function uploadBatch(record: Recorder, config: ModelConfig, batch: PackedBatch, targets: Targets) {
  const tokens = batch.input_ids.length;
  const { vocab_size } = config;
  const ids = new Uint32Array(batch.input_ids);
  const bad = ids.findIndex((id) => id >= vocab_size);
  if (bad >= 0) {
    throw new ShapeError(
      `Cannot embed token ${batch.input_ids[bad]} at ${bad}: the vocabulary has ${vocab_size} entries`,
    );
  }
  const up = (data: Uint32Array, shape: readonly number[], label: string) => record.upload(data, shape, label);
  let longest = 0;
  for (let t = 0; t < tokens; t++) longest = Math.max(longest, batch.position_ids[t] + 1);
  return {
    longest,
    ids: up(ids, [tokens], "input_ids"),
    positions: up(new Uint32Array(batch.position_ids), [tokens], "position_ids"),
    spans: view(up(spansOf(batch.cu_seqlens), [2 * tokens], "spans"), [tokens, 2]),
    rows: up(targets.rows, [targets.rows.length], "target_rows"),
    targets: up(targets.tokens, [targets.tokens.length], "targets"),
    chunks: config.delta && chunksOf(record, batch.cu_seqlens),
  };
}

function chunksOf(record: Recorder, cuSeqlens: ArrayLike<number>): DeltaChunks {
  const { words, ...counts } = chunkTable(cuSeqlens);
  const table = view(record.upload(words, [words.length], "chunks"), [words.length / 4, 4]);
  return { ...counts, table };
}
