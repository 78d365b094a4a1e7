import {
  deltaConvActivationBackward as activationShader,
  deltaConvFill as fillShader,
  deltaConvInputBackward as inputShader,
  deltaConv as shader,
  deltaConvStep as stepShader,
  TAPS,
  deltaConvWeightBackward as weightShader,
} from "../../../shaders/delta/conv.wgsl.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { sizeOf, type Tensor, view } from "../../gpu/tensor.ts";
import { biasBackward } from "../elementwise.ts";
import { rowGrid, sameShape, WORKGROUP } from "../grid.ts";
import { stored } from "../matmul/stored.ts";

/** Blocks of rows that the filters' gradient is summed by. */
const BLOCKS = 16;

/**
 * Causal depthwise convolution of width 4, then SiLU, within each sequence of a packed batch:
 * `y[t,c] = silu(Σ_j weight[c,j]·x[t−3+j,c])`.
 *
 * @param x `[tokens, stride]` f32, of which the first columns, as many as there are filters, are taken
 * @param spans u32 `[tokens, 2]`: first token of the row's sequence, and one past its last
 * @param weight `[channels, 1, 4]`, f32, f16 or bf16
 * @returns y `[tokens, channels]` f32
 * @throws {ShapeError} filters of another width, or more of them than columns
 * @see shaders/delta/conv.wgsl.ts, deltaConvReference
 */
export function deltaConv(record: Recorder, x: Tensor, spans: Tensor, weight: Tensor): Tensor {
  const [rows, stride] = x.shape;
  const channels = channelsOf(x, weight);
  sameShape("convolve", spans, [rows, 2]);
  const y = record.empty([rows, channels], "f32", "delta.qkv");
  const how = vectors(channels, stride);
  const variant = { weight: stored(weight), vector: how.vector, workgroup: WORKGROUP };
  record.dispatch(
    shader,
    variant,
    { x, spans, weight, y },
    { rows, ...how.params },
    rowGrid(record, how.threads, rows),
  );
  return y;
}

/**
 * Gradients of `deltaConv`.
 *
 * @param dy gradient of the result `[tokens, channels]`; overwritten
 * @param dx `[tokens, stride]`: its first columns become the gradient of x's
 * @param dweight f32 `[channels, 1, 4]`, added to; null where the filters are frozen
 */
export function deltaConvBackward(
  record: Recorder,
  { x, spans, weight }: Record<"x" | "spans" | "weight", Tensor>,
  dy: Tensor,
  { dx, dweight }: { dx: Tensor; dweight: Tensor | null },
): void {
  const [rows, stride] = x.shape;
  const channels = channelsOf(x, weight);
  sameShape("convolve backwards", dy, [rows, channels]);
  sameShape("convolve backwards", dx, x.shape);
  const how = vectors(channels, stride);
  const variant = { weight: stored(weight), vector: how.vector, workgroup: WORKGROUP };
  const params = { rows, ...how.params };
  const grid = rowGrid(record, how.threads, rows);
  record.dispatch(activationShader, variant, { x, spans, weight, y: dy }, params, grid);
  record.dispatch(inputShader, variant, { x: dy, spans, weight, y: dx }, params, grid);
  if (!dweight) return;
  const block = Math.ceil(rows / BLOCKS);
  const blocks = Math.ceil(rows / block);
  const sums = record.empty([blocks, channels * TAPS], "f32", "d.conv.sums");
  record.dispatch(
    weightShader,
    { workgroup: WORKGROUP },
    { x, spans, dp: dy, sums },
    { rows, channels, stride, block },
    [Math.ceil(channels / WORKGROUP), blocks],
  );
  biasBackward(record, sums, view(dweight, [channels * TAPS]));
  record.release(sums);
}

/** Where the rows of a decoding pass stand: u32 `[rows]` each. */
export interface DeltaRows {
  slots: Tensor;
  positions: Tensor;
}

/**
 * `deltaConv` of one token a row. The three tokens before it lie in its slot, which it joins.
 *
 * @param x `[rows, stride]` f32
 * @param columns f32 `[slots, 3, channels]`: the last inputs, oldest first; what is from before position 0 is not read
 * @returns y `[rows, channels]` f32
 */
export function deltaConvStep(
  record: Recorder,
  x: Tensor,
  weight: Tensor,
  { slots, positions }: DeltaRows,
  columns: Tensor,
): Tensor {
  const [rows, stride] = x.shape;
  const channels = channelsOf(x, weight);
  sameShape("convolve", columns, [columns.shape[0], TAPS - 1, channels]);
  const y = record.empty([rows, channels], "f32", "delta.qkv");
  const how = vectors(channels, stride);
  record.dispatch(
    stepShader,
    { weight: stored(weight), vector: how.vector, workgroup: WORKGROUP },
    { x, weight, slots, positions, columns, y },
    { rows, ...how.params },
    [Math.ceil(how.threads / WORKGROUP), rows],
  );
  return y;
}

/**
 * Puts the last three inputs of sequences of a packed batch into slots.
 *
 * @param ends u32 `[n, 3]`: a sequence, its last row, and a slot, each slot once
 */
export function deltaConvFill(record: Recorder, x: Tensor, spans: Tensor, ends: Tensor, columns: Tensor): void {
  const [, taps, channels] = columns.shape;
  if (taps !== TAPS - 1)
    throw new ShapeError(`Cannot fill ${columns.label} [${columns.shape}]: 3 inputs a slot are kept`);
  record.dispatch(fillShader, { workgroup: WORKGROUP }, { x, spans, ends, columns }, { channels, stride: x.shape[1] }, [
    Math.ceil(channels / WORKGROUP),
    sizeOf(ends.shape) / 3,
  ]);
}

function channelsOf(x: Tensor, { label, shape }: Tensor): number {
  const channels = shape[0];
  if (sizeOf(shape) !== channels * TAPS || channels > x.shape[1]) {
    throw new ShapeError(
      `Cannot convolve x [${x.shape}] with ${label} [${shape}]: it must be [channels, 1, ${TAPS}], with at most ${x.shape[1]} channels`,
    );
  }
  return channels;
}

function vectors(channels: number, stride: number) {
  const vector = channels % 4 === 0 && stride % 4 === 0;
  const [c, s] = vector ? [channels / 4, stride / 4] : [channels, stride];
  return { vector, threads: c, params: { channels: c, stride: s } };
}

/** The same in float64 on the CPU, of x `[tokens, channels]`. */
export function deltaConvReference(x: Float64Array, spans: ArrayLike<number>, weight: Float64Array): Float64Array {
  return filtered(x, spans, weight).map((p) => p / (1 + Math.exp(-p)));
}

function filtered(x: Float64Array, spans: ArrayLike<number>, weight: Float64Array): Float64Array {
  const channels = weight.length / TAPS;
  return x.map((_, i) => {
    const [t, c] = [Math.floor(i / channels), i % channels];
    let p = 0;
    for (let j = 0; j < TAPS; j++) {
      const from = t - (TAPS - 1) + j;
      if (from >= spans[2 * t]) p += weight[TAPS * c + j] * x[from * channels + c];
    }
    return p;
  });
}

/** Gradients of `Σ dy·deltaConv(x)`, in float64. */
export function deltaConvBackwardReference(
  x: Float64Array,
  spans: ArrayLike<number>,
  weight: Float64Array,
  dy: Float64Array,
): { dx: Float64Array; dweight: Float64Array } {
  const channels = weight.length / TAPS;
  const dx = new Float64Array(x.length);
  const dweight = new Float64Array(weight.length);
  filtered(x, spans, weight).forEach((p, i) => {
    const [t, c] = [Math.floor(i / channels), i % channels];
    const s = 1 / (1 + Math.exp(-p));
    const dp = dy[i] * s * (1 + p * (1 - s));
    for (let j = 0; j < TAPS; j++) {
      const from = t - (TAPS - 1) + j;
      if (from < spans[2 * t]) continue;
      dx[from * channels + c] += dp * weight[TAPS * c + j];
      dweight[TAPS * c + j] += dp * x[from * channels + c];
    }
  });
  return { dx, dweight };
}
