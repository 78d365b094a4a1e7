import type { AdapterLike } from "../gpu/fake-device.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { type Tensor, view } from "../gpu/tensor.ts";
import type { VisionConfig } from "./architectures/architecture.ts";
import { layersOf } from "./architectures/tensors.ts";
import type { ModelConfig } from "./config.ts";
import type { HeadRows, RowGradient } from "./layers/head.ts";
import { type BatchImages, splitImages } from "./vision/images.ts";
import { patchCount } from "./vision/places.ts";

// A pass whose activations are too long for one binding runs as several passes over some of its sequences each. Sequences
// do not depend on each other, so the numbers are the same.

/** Sequences concatenated without padding. */
export interface PackedBatch {
  /** [tokens] */
  input_ids: ArrayLike<number>;
  /** [tokens], from 0 in each sequence */
  position_ids: ArrayLike<number>;
  /** [sequences + 1]: start of each sequence, then the end */
  cu_seqlens: ArrayLike<number>;
  /** absent: none, and position_ids are the positions of all axes */
  images?: BatchImages;
}

/** The rows of a batch that have a target, and their targets. */
export interface Targets {
  /** rows, ascending */
  rows: Uint32Array;
  /** token that the row predicts */
  tokens: Uint32Array;
}

/** Some sequences of a batch, with their targets. */
interface PassPart {
  batch: PackedBatch;
  targets: Targets;
  /** its first token, and its first target */
  token: number;
  first: number;
}

/** The most tokens, and patches of images in a tower that is trained, whose activations fit one binding. */
interface PassLimits {
  tokens: number;
  patches: number;
}

/** What fits one pass; the activations of the language model's MLPs are computed in parts anyway. */
export function passLimits(config: ModelConfig, { limits }: Pick<AdapterLike, "limits">): PassLimits {
  const widths = layersOf(config).flatMap(({ sublayers }) =>
    sublayers.flatMap((spec) => {
      if (spec.kind === "swiglu") return [];
      const groups = Object.values(spec.groups) as (readonly { out: number }[])[];
      const products = groups.map((group) => group.reduce((sum, { out }) => sum + out, 0));
      if (spec.kind !== "attention") return products;
      // the backward pass holds three gradients of each query head's width
      return [...products, 3 * spec.heads.num_attention_heads * spec.heads.head_dim];
    }),
  );
  const bytes = Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
  const fitting = (...own: number[]) => Math.floor(bytes / 4 / Math.max(...own));
  const tokens = fitting(config.hidden_size, ...widths);
  if (!config.vision) return { tokens, patches: Number.POSITIVE_INFINITY };
  const { hidden_size: hidden, intermediate_size: inner, in_channels, temporal_patch_size, patch_size } = config.vision;
  // of queries, keys and values; of the MLP; of the pixels
  return { tokens, patches: fitting(3 * hidden, inner, in_channels * temporal_patch_size * patch_size ** 2) };
}

/** Patches that go through the tower with a batch: none if it is frozen, whose features are known. */
function patchesOf(images: BatchImages | undefined): number {
  return images && "pixels" in images ? patchCount(images.grids) : 0;
}

/** Whether a batch needs one pass only: its activations fit, or it is one sequence. */
export function fitsOnePass({ input_ids, cu_seqlens, images }: PackedBatch, most: PassLimits): boolean {
  return cu_seqlens.length <= 2 || (input_ids.length <= most.tokens && patchesOf(images) <= most.patches);
}

/**
 * Cuts a batch into parts of whole sequences with their images, each of at most `most` tokens and patches or of one sequence.
 *
 * @param vision of a model that sees images
 */
export function passParts(
  batch: PackedBatch,
  targets: Targets,
  most: PassLimits,
  vision: VisionConfig | null = null,
): PassPart[] {
  const { input_ids, position_ids, cu_seqlens } = batch;
  const parts: PassPart[] = [];
  const last = cu_seqlens.length - 1;
  const trained = vision !== null && patchesOf(batch.images) > 0;
  const imageTokens = (from: number, to: number) => {
    let count = 0;
    for (let t = from; t < to; t++) if (input_ids[t] === vision!.image_token_id) count++;
    return count;
  };
  const fits = (from: number, to: number) =>
    to - from <= most.tokens && (!trained || imageTokens(from, to) * vision.spatial_merge_size ** 2 <= most.patches);
  let first = 0;
  for (let s = 0; s < last; ) {
    const token = cu_seqlens[s];
    let end = s + 1;
    while (end < last && fits(token, cu_seqlens[end + 1])) end++;
    const stop = cu_seqlens[end];
    let next = first;
    while (next < targets.rows.length && targets.rows[next] < stop) next++;
    const cut = (values: ArrayLike<number>) => Array.prototype.slice.call(values, token, stop) as number[];
    parts.push({
      batch: {
        input_ids: cut(input_ids),
        position_ids: cut(position_ids),
        cu_seqlens: Array.from({ length: end - s + 1 }, (_, i) => cu_seqlens[s + i] - token),
      },
      targets: {
        rows: targets.rows.slice(first, next).map((row) => row - token),
        tokens: targets.tokens.slice(first, next),
      },
      token,
      first,
    });
    s = end;
    first = next;
  }
  if (!batch.images || !vision) return parts;
  const counts = parts.map(({ batch: { input_ids: ids }, token }) => imageTokens(token, token + ids.length));
  const images = splitImages(batch.images, counts, vision);
  return parts.map((part, i) => ({ ...part, batch: { ...part.batch, ...(images[i] && { images: images[i] }) } }));
}

/**
 * Records the parts of a pass one after the other, and joins their results.
 *
 * @param run records one part; null results: the part has no targets
 * @param count targets of all parts
 */
export function runParts(
  record: Recorder,
  parts: readonly PassPart[],
  count: number,
  gradient: RowGradient | null,
  run: (part: PassPart, gradient: RowGradient | null) => HeadRows | null,
): HeadRows {
  const each = (own: (part: PassPart) => RowGradient | null): HeadRows => {
    const joined = {} as HeadRows;
    parts.forEach((part) => {
      const rows = run(part, own(part));
      if (!rows) return;
      for (const name of Object.keys(rows) as (keyof HeadRows)[]) {
        joined[name] ??= record.empty([count], "f32", name);
        record.copy(rows[name], view(joined[name], rows[name].shape, part.first));
        record.release(rows[name]);
      }
    });
    return joined;
  };
  if (!gradient) return each(() => null);
  if (typeof gradient === "function") {
    return each(
      ({ first }) =>
        (inner, rows, start, size) =>
          gradient(inner, rows, first + start, size),
    );
  }
  // a row's slope depends on rows of other parts: all log-probs first, then everything again with gradients
  const all = each(() => null);
  const slopes = gradient.ofAll(record, all);
  const done = each(
    ({ first }) =>
      (inner, _rows, start, size) =>
        rowsOf(inner, slopes, first + start, size),
  );
  record.release(slopes, ...Object.values(all));
  return done;
}

function rowsOf(record: Recorder, of: Tensor, start: number, count: number): Tensor {
  const copy = record.empty([count], "f32", `${of.label}.part`);
  record.copy(view(of, [count], start), copy);
  return copy;
}
