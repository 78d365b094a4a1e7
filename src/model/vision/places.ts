import { ShapeError } from "../../errors.ts";
import type { SparseRows } from "../../kernels/vision/blend-rows.ts";
import type { ModelConfig, VisionConfig } from "../architectures/architecture.ts";
import { inverseFrequencies } from "../layers/rope.ts";

/** An image in patches: frames (1), rows, columns. */
export type ImageGrid = readonly [time: number, height: number, width: number];

/** Patches of images. */
export function patchCount(grids: readonly ImageGrid[]): number {
  return grids.reduce((sum, [t, h, w]) => sum + t * h * w, 0);
}

/** Row and column of every patch `[patches, 2]`: block by block of merge × merge patches, as the patches lie in memory. */
function patchPlaces(grids: readonly ImageGrid[], merge: number): Uint32Array {
  const places = new Uint32Array(2 * patchCount(grids));
  let at = 0;
  for (const [time, height, width] of grids) {
    for (let p = 0; p < time * height * width; p++) {
      const within = p % (height * width);
      const block = Math.floor(within / merge ** 2);
      const [down, across] = [Math.floor(block / (width / merge)), block % (width / merge)];
      places[at++] = down * merge + (Math.floor(within / merge) % merge);
      places[at++] = across * merge + (within % merge);
    }
  }
  return places;
}

/** First patch of each frame, then the number of patches: patches attend within their frame. */
export function frameStarts(grids: readonly ImageGrid[]): number[] {
  const starts = [0];
  for (const [t, h, w] of grids) for (let frame = 0; frame < t; frame++) starts.push(starts[starts.length - 1] + h * w);
  return starts;
}

/**
 * Weights of the learned positions for each patch: the square grid of positions, resampled bilinearly with aligned corners
 * to each image's grid.
 *
 * @param side rows and columns of the learned grid
 * @see transformers/vision_utils.py, get_vision_interpolation_indices_and_weights
 */
export function positionBlend(grids: readonly ImageGrid[], side: number, merge: number): SparseRows {
  const patches = patchCount(grids);
  const places = patchPlaces(grids, merge);
  const blend: SparseRows = {
    starts: Uint32Array.from({ length: patches + 1 }, (_, p) => 4 * p),
    sources: new Uint32Array(4 * patches),
    factors: new Float32Array(4 * patches),
  };
  let patch = 0;
  for (const [time, height, width] of grids) {
    for (const last = patch + time * height * width; patch < last; patch++) {
      const down = taps(places[2 * patch], height, side);
      const across = taps(places[2 * patch + 1], width, side);
      down.forEach(([row, a], i) => {
        across.forEach(([column, b], j) => {
          blend.sources[4 * patch + 2 * i + j] = row * side + column;
          blend.factors[4 * patch + 2 * i + j] = a * b;
        });
      });
    }
  }
  return blend;
}

/** The two neighbours of place `at` of `count` in a line of `side`, and their weights. */
function taps(at: number, count: number, side: number): [number, number][] {
  const place = count > 1 ? (at * (side - 1)) / (count - 1) : 0;
  const low = Math.min(Math.floor(place), side - 1);
  const share = place - low;
  return [
    [low, 1 - share],
    [Math.min(low + 1, side - 1), share],
  ];
}

/** Cosines, then sines `[patches, head_dim]`: the first half of a head's frequencies turns by the row, the second by the column. */
export function patchRotation(grids: readonly ImageGrid[], config: VisionConfig): Float32Array {
  const { hidden_size, num_heads, rope_theta, spatial_merge_size } = config;
  const size = hidden_size / num_heads;
  const [half, quarter] = [size / 2, size / 4];
  const frequencies = Float32Array.from({ length: quarter }, (_, i) => 1 / rope_theta ** ((2 * i) / half));
  const places = patchPlaces(grids, spatial_merge_size);
  const table = new Float32Array((places.length / 2) * size);
  for (let patch = 0; 2 * patch < places.length; patch++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(places[2 * patch + (i < quarter ? 0 : 1)] * frequencies[i % quarter]);
      table[patch * size + i] = Math.cos(angle);
      table[patch * size + half + i] = Math.sin(angle);
    }
  }
  return table;
}

/** Where the tokens of a batch are, along three axes. */
interface TokenPlaces {
  /** tokens that stand for merged patches, ascending */
  rows: Uint32Array;
  /** `[tokens, 3]`: time, height, width */
  positions: Uint32Array;
}

/**
 * Positions of tokens of packed sequences with images. Text advances by one on all axes; an image at position p takes
 * (p, p + row, p + column) of its merged grid; the text after it goes on at p + the larger side.
 *
 * @param grids of all images, in the order of the tokens
 * @throws {ShapeError} a run of image tokens that is not as long as its image has merged patches; images without tokens
 * @see transformers, Qwen3_5Model.get_rope_index
 */
export function tokenPlaces(
  ids: ArrayLike<number>,
  cuSeqlens: ArrayLike<number>,
  grids: readonly ImageGrid[],
  { image_token_id, spatial_merge_size: merge }: VisionConfig,
): TokenPlaces {
  const rows: number[] = [];
  const positions = new Uint32Array(3 * ids.length);
  let image = 0;
  for (let s = 0; s + 1 < cuSeqlens.length; s++) {
    let next = 0;
    for (let t = cuSeqlens[s]; t < cuSeqlens[s + 1]; ) {
      if (ids[t] !== image_token_id) {
        positions.fill(next++, 3 * t, 3 * t + 3);
        t++;
        continue;
      }
      const grid = grids[image++];
      const count = grid ? (grid[0] * grid[1] * grid[2]) / merge ** 2 : 0;
      let run = 1;
      while (run < count && t + run < cuSeqlens[s + 1] && ids[t + run] === image_token_id) run++;
      if (run !== count) {
        throw new ShapeError(
          grid
            ? `Cannot place image ${image - 1} of ${grid[1]}×${grid[2]} patches at token ${t}: it needs ${count} image tokens side by side, and ${run} are there`
            : `Cannot place images: token ${t} is an image token, and all ${grids.length} images have their tokens before it`,
        );
      }
      const across = grid[2] / merge;
      const down = grid[1] / merge;
      for (let p = 0; p < count; p++, t++) {
        rows.push(t);
        positions.set([next, next + (Math.floor(p / across) % down), next + (p % across)], 3 * t);
      }
      next += Math.max(down, across);
    }
  }
  if (image < grids.length) {
    throw new ShapeError(`Cannot place images: the tokens hold ${image} images, and ${grids.length} are given`);
  }
  return { rows: Uint32Array.from(rows), positions };
}

/** The first position after a sequence's tokens `[tokens, 3]`. */
export function nextPosition(positions: Uint32Array): number {
  return positions.reduce((most, p) => Math.max(most, p), -1) + 1;
}

/**
 * Cosines, then sines `[tokens, rotary_dim]` of tokens with three positions each. Frequencies are interleaved: index i turns
 * by the height if i mod 3 is 1 and i below three times the section of height, by the width likewise, else by time.
 *
 * @see transformers, Qwen3_5TextRotaryEmbedding.recomposition_frequencies
 */
export function tokenRotation(config: ModelConfig, positions: Uint32Array): Float32Array {
  const frequencies = inverseFrequencies(config);
  const half = frequencies.length;
  const factor = config.rope_scaling?.attention_factor ?? 1;
  const sections = config.mrope_section ?? [half, 0, 0];
  const axes = Array.from({ length: half }, (_, i) => (i % 3 > 0 && i < 3 * sections[i % 3] ? i % 3 : 0));
  const table = new Float32Array((positions.length / 3) * 2 * half);
  for (let t = 0; 3 * t < positions.length; t++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(positions[3 * t + axes[i]] * frequencies[i]);
      table[t * 2 * half + i] = factor * Math.cos(angle);
      table[t * 2 * half + half + i] = factor * Math.sin(angle);
    }
  }
  return table;
}
