import type { Recorder } from "../../gpu/recorder.ts";
import { type Tensor, view } from "../../gpu/tensor.ts";
import { rmsNorm } from "../../kernels/norm/rms-norm.ts";
import type { SlotCache } from "../cache.ts";
import { blockStep, type Stream } from "../layers/block.ts";
import { embedTokens, tableLogits } from "../layers/tables.ts";
import type { Transformer } from "../transformer.ts";
import { joinImages, type SeenImages } from "../vision/images.ts";

/** A prompt to prefill, and the slots of the sequences that start with it. */
export interface PrefillPrompt {
  ids: readonly number[];
  slots: readonly number[];
  images?: SeenImages | null;
}

/** Runs each prompt through the model once and copies the layers' caches of it to every slot that shares it. */
export function prefill(
  record: Recorder,
  model: Transformer,
  cache: SlotCache,
  prompts: readonly PrefillPrompt[],
): void {
  const input_ids = prompts.flatMap(({ ids }) => [...ids]);
  if (input_ids.length === 0) return;
  const cu_seqlens = [0];
  for (const { ids } of prompts) cu_seqlens.push(cu_seqlens.at(-1)! + ids.length);
  const [pairs, ends]: number[][] = [[], []];
  prompts.forEach(({ ids, slots }, p) => {
    for (const slot of slots) {
      for (let t = 0; t < ids.length; t++) pairs.push(cu_seqlens[p] + t, slot * cache.capacity + t);
      ends.push(p, cu_seqlens[p + 1] - 1, slot);
    }
  });
  record.scope(() => {
    const up = (values: readonly number[], width: number, label: string) =>
      view(record.upload(Uint32Array.from(values), [values.length], label), [values.length / width, width]);
    const rows = { pairs: up(pairs, 2, "pairs"), ends: up(ends, 3, "ends") };
    const position_ids = prompts.flatMap(({ ids }) => ids.map((_, t) => t));
    const seen = prompts.flatMap(({ images }) => images ?? []);
    const images = seen.length > 0 ? { images: joinImages(seen) } : {};
    model.forward(record, { input_ids, position_ids, cu_seqlens, ...images }, { cache, rows });
  });
}

/** Positions of a decoding pass's rows, on the GPU. */
interface DecodePass {
  /** u32 `[rows]` each */
  tokens: Tensor;
  positions: Tensor;
  /** rotary positions; absent: the same */
  angles?: Tensor;
  slots: Tensor;
  /** upper bound of the positions */
  longest: number;
}

/**
 * Decodes one token per row: feeds it, adds its key and value to the cache, and returns the next token's logits.
 *
 * @returns f32 `[rows, n]` for each shard of the vocabulary
 */
export function decodeStep(
  record: Recorder,
  model: Transformer,
  cache: SlotCache,
  rows: DecodePass,
): { tensor: Tensor; start: number }[] {
  const { config, weights } = model;
  return record.scope(() => {
    const pass = model.passOf(rows.angles ?? rows.positions, rows.longest + 1);
    let stream: Stream = { x: embedTokens(record, rows.tokens, weights), delta: null };
    const { slots, positions, longest } = rows;
    const step = { slots, positions, longest, capacity: cache.capacity };
    weights.blocks.forEach((block, layer) => {
      stream = blockStep(record, block, pass, stream, step, cache.layers[layer]);
    });
    const norm = rmsNorm(record, stream.x, weights.norm, config.rms_norm_eps, stream.delta);
    return tableLogits(record, norm.y, { head: weights.head, own: weights.rows.head });
  });
}
