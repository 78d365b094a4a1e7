import { ShapeError, UnsupportedError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { gatherRows, scatterRows } from "../../kernels/elementwise.ts";
import type { ModelConfig, VisionConfig } from "../architectures/architecture.ts";
import { type ImageGrid, nextPosition, patchCount, tokenPlaces, tokenRotation } from "./places.ts";
import type { Patches, VisionTower } from "./tower.ts";

/** Images of a batch, in the order of their tokens: their patches, or features that a frozen tower has made of them. */
export type BatchImages = Patches | SeenImages;

/** Images whose features are known, `[tokens, hidden]` of one after the other. */
export interface SeenImages {
  features: Float32Array;
  grids: readonly ImageGrid[];
}

/** The images of several sequences. */
export function joinImages(all: readonly SeenImages[]): SeenImages {
  const features = new Float32Array(all.reduce((n, { features }) => n + features.length, 0));
  let at = 0;
  for (const { features: own } of all) {
    features.set(own, at);
    at += own.length;
  }
  return { features, grids: all.flatMap(({ grids }) => grids) };
}

/**
 * Splits images between parts of a batch.
 *
 * @param counts image tokens of each part, which hold whole images
 */
export function splitImages(images: BatchImages, counts: readonly number[], { spatial_merge_size }: VisionConfig) {
  const values = "features" in images ? images.features : images.pixels;
  const each = values.length / patchCount(images.grids); // a patch's share
  let image = 0;
  let at = 0;
  return counts.map((tokens): BatchImages | null => {
    const grids: ImageGrid[] = [];
    for (let left = tokens * spatial_merge_size ** 2; left > 0 && image < images.grids.length; image++) {
      grids.push(images.grids[image]);
      left -= patchCount([images.grids[image]]);
    }
    if (grids.length === 0) return null;
    const own = values.subarray(at, (at += each * patchCount(grids)));
    return "features" in images ? { features: own, grids } : { pixels: own, grids };
  });
}

/** How far the rotary position after a prompt is from its number of tokens: images take fewer positions than tokens. */
export function positionShift({ vision }: ModelConfig, ids: readonly number[], images: SeenImages | null): number {
  if (!vision || !images) return 0;
  return nextPosition(tokenPlaces(ids, [0, ids.length], images.grids, vision).positions) - ids.length;
}

/** Images at their places among the tokens of a batch, on the GPU. */
export interface PlacedImages {
  /** u32 [n]: tokens that stand for merged patches */
  rows: Tensor;
  /** [n, hidden] */
  features: Tensor;
  /** cosines and sines of each token [tokens, rotary_dim], and u32 0 … tokens − 1 */
  table: Tensor;
  positions: Tensor;
  /** adds the gradients of the tower's parameters; null if it is frozen */
  backward: ((dFeatures: Tensor) => void) | null;
}

/**
 * Computes or uploads the features of a batch's images.
 *
 * @param options whether the tower's gradients will be needed, if it is trained, and the seed of its dropout
 * @throws {UnsupportedError} the model has no tower, or was loaded without it
 * @throws {ShapeError} features or tokens that do not fit the images
 */
export function placeImages(
  record: Recorder,
  { config, tower }: { config: ModelConfig; tower: VisionTower | null },
  { input_ids, cu_seqlens }: { input_ids: ArrayLike<number>; cu_seqlens: ArrayLike<number> },
  images: BatchImages,
  { gradient, dropoutSeed }: { gradient: boolean; dropoutSeed: number | null },
): PlacedImages {
  const { vision } = config;
  if (!vision) throw new UnsupportedError("Cannot see images: the model has no vision tower");
  const tokens = input_ids.length;
  const { rows, positions } = tokenPlaces(input_ids, cu_seqlens, images.grids, vision);
  const places = {
    rows: record.upload(rows, [rows.length], "image_rows"),
    table: record.upload(tokenRotation(config, positions), [tokens, config.rotary_dim], "mrope"),
    positions: record.upload(
      Uint32Array.from({ length: tokens }, (_, t) => t),
      [tokens],
      "mrope_rows",
    ),
  };
  if ("features" in images) {
    const { features } = images;
    if (features.length !== rows.length * config.hidden_size) {
      throw new ShapeError(
        `Cannot place ${features.length} values of image features: ${rows.length} image tokens of ${config.hidden_size} need as many`,
      );
    }
    return {
      ...places,
      features: record.upload(features, [rows.length, config.hidden_size], "features"),
      backward: null,
    };
  }
  if (!tower) throw new UnsupportedError("Cannot see images: the model was loaded without its vision tower");
  const { features, saved } = tower.forward(record, images, { keep: gradient && tower.trained, dropoutSeed });
  return { ...places, features, backward: saved && ((dFeatures) => tower.backward(record, saved, dFeatures)) };
}

/** Replaces the embeddings of image tokens by the features. @param x `[tokens, hidden]` */
export function putFeatures(record: Recorder, { rows, features }: PlacedImages, x: Tensor): void {
  scatterRows(record, features, rows, x);
  record.release(features);
}

/**
 * Takes the gradient of the features out of that of the embeddings, for a trained tower; image tokens leave no gradient in
 * the table.
 *
 * @param g `[tokens, hidden]`; rows of image tokens become 0
 */
export function takeFeatureGradient(record: Recorder, { rows, backward }: PlacedImages, g: Tensor): void {
  if (backward) {
    record.scope(() => {
      backward(gatherRows(record, g, rows));
    });
  }
  const zeros = record.zeros([rows.shape[0], g.shape[1]], "f32", "d.image_rows");
  scatterRows(record, zeros, rows, g);
  record.release(zeros);
}
