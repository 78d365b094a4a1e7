import { embeddingBackward as backwardShader, embedding as shader } from "../../../shaders/embedding/embedding.wgsl.ts";
import { uniform01 } from "../../../shaders/lib/random.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { inTexture, type Tensor } from "../../gpu/tensor.ts";
import { rowGrid, sameShape, WORKGROUP } from "../grid.ts";
import { stored } from "../matmul/stored.ts";

/** Consecutive rows of an embedding table that is too large for one binding. */
export interface WeightShard {
  /** `[rows, H]`, f32, f16 or bf16 */
  tensor: Tensor;
  /** index of its first row in the whole table */
  start: number;
}

/** NEFTune's noise: `scale · uniform(−1, 1)` on every entry, drawn from (seed, token·H + column). */
interface EmbeddingNoise {
  /** size of the noise for all tokens: α / √(tokens of the sequence · H); 0 is off */
  noiseScale?: number;
  /** u32; a new one every step */
  seed?: number;
  /** sizes by token, f32 `[T]`, in place of `noiseScale` and `seed` */
  noise?: { scale: Tensor; seed: number };
  /** token of the whole batch that token 0 is, if these are a part of it; default 0 */
  first?: number;
}

interface EmbeddingOptions extends EmbeddingNoise {
  /**
   * replaces some rows of x `[T, H]`: those of tokens with a row in the shards, at `places[id]`, u32 `[vocab]`; ids without a row
   * have places past the last
   */
  over?: { x: Tensor; places: Tensor };
}

/**
 * Looks tokens up in the table: `x[t] = table[ids[t]]`.
 *
 * With `over`, writes rows of an earlier result in place. Records one dispatch per shard. Each dispatch writes the tokens whose rows the shard holds, so the shards must cover
 * every id, without `over`.
 *
 * @param ids u32 `[T]`
 * @param shards rows of the table, `[rows, H]` each
 * @returns x `[T, H]` f32
 * @throws {ShapeError} no shards, another x, or shards of different widths
 * @see shaders/embedding/embedding.wgsl.ts, embeddingReference; noise: arXiv:2310.05914
 */
export function embedding(
  record: Recorder,
  ids: Tensor,
  shards: readonly WeightShard[],
  { noiseScale = 0, seed = 0, noise, first = 0, over }: EmbeddingOptions = {},
): Tensor {
  const [tokens] = ids.shape;
  const width = shards[0]?.tensor.shape[1] ?? 0;
  if (width === 0) throw new ShapeError("Cannot embed: the table has no shards, or shards without columns");
  const x = over?.x ?? record.empty([tokens, width], "f32", "embedded");
  sameShape("embed", x, [tokens, width]);
  const vector = width % 4 === 0;
  const kind = noise ? "token" : noiseScale !== 0 ? "all" : "none";
  if (noise) sameShape("embed with noise", noise.scale, [tokens]);
  for (const { tensor, start } of shards) {
    const [rows] = tensor.shape;
    sameShape("embed", tensor, [rows, width]);
    record.dispatch(
      shader,
      { weight: stored(tensor), texels: inTexture(tensor), vector, noise: kind, placed: !!over, workgroup: WORKGROUP },
      { ids, weight: tensor, x, ...(noise && { scale: noise.scale }), ...(over && { places: over.places }) },
      { tokens, width, start, rows, noiseScale, seed: (noise?.seed ?? seed) >>> 0, first },
      rowGrid(record, vector ? width / 4 : width, tokens),
    );
  }
  return x;
}

/** Positions of a batch, grouped by token id, for the backward pass. */
interface TokenGroups<T> {
  /** the distinct ids, ascending `[U]` */
  tokens: T;
  /** start of each id's positions in `order`, then the end `[U + 1]` */
  starts: T;
  /** positions grouped by id, ascending in each group `[T]` */
  order: T;
}

/** Groups the positions of a batch by id, on the CPU. */
export function groupTokens(ids: Uint32Array | Int32Array): TokenGroups<Uint32Array> {
  const order = Uint32Array.from(ids.keys()).sort((a, b) => ids[a] - ids[b] || a - b);
  const tokens: number[] = [];
  const starts: number[] = [];
  order.forEach((position, i) => {
    if (i > 0 && ids[order[i - 1]] === ids[position]) return;
    tokens.push(ids[position]);
    starts.push(i);
  });
  return { tokens: Uint32Array.from(tokens), starts: Uint32Array.from([...starts, order.length]), order };
}

/**
 * Gradient of `embedding` for one shard: `dweight[id − start] += Σ dy` over the id's positions, in their order.
 *
 * @param dy gradient of x `[T, H]` f32
 * @param groups u32 tensors with the arrays of `groupTokens`
 * @param dweight gradients of the shard `[rows, H]` f32, accumulated
 * @param start the shard's first row of the whole table
 * @throws {ShapeError} inconsistent widths or lengths
 */
export function embeddingBackward(
  record: Recorder,
  dy: Tensor,
  groups: TokenGroups<Tensor>,
  dweight: Tensor,
  start: number,
): void {
  const [positions, columns] = dy.shape;
  const [rows] = dweight.shape;
  const [distinct] = groups.tokens.shape;
  sameShape("embedding_backward", dweight, [rows, columns]);
  sameShape("embedding_backward", groups.starts, [distinct + 1]);
  sameShape("embedding_backward", groups.order, [positions]);
  const vector = columns % 4 === 0;
  const width = vector ? columns / 4 : columns;
  record.dispatch(
    backwardShader,
    { vector, workgroup: WORKGROUP },
    { dy, ...groups, dweight },
    { distinct, width, start, rows },
    rowGrid(record, width, distinct),
  );
}

/** The same in float64 on the CPU; `scale` is the size of each token's noise. */
export function embeddingReference(
  ids: ArrayLike<number>,
  table: Float64Array,
  width: number,
  scale: (token: number) => number = () => 0,
  seed = 0,
): Float64Array {
  return Float64Array.from({ length: ids.length * width }, (_, i) => {
    const token = Math.floor(i / width);
    return table[ids[token] * width + (i % width)] + scale(token) * (2 * uniform01(seed, i) - 1);
  });
}

/** Gradient of `Σ dy·embedding` for the whole table of `rows`, in float64. */
export function embeddingBackwardReference(ids: ArrayLike<number>, dy: Float64Array, rows: number): Float64Array {
  const width = dy.length / ids.length;
  const dweight = new Float64Array(rows * width);
  dy.forEach((d, i) => {
    dweight[ids[Math.floor(i / width)] * width + (i % width)] += d;
  });
  return dweight;
}
