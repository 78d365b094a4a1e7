import {
  doraScale,
  GAIN_ROWS,
  doraGains as gainsShader,
  MAGNITUDE_TILE,
  magnitudeBackward as magnitudeShader,
  maskedAdd as maskedShader,
} from "../../../shaders/matmul/dora.wgsl.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { codeBytes, sizeOf, type Tensor, view } from "../../gpu/tensor.ts";
import { rowGrid, sameShape, threadGrid, WORKGROUP } from "../grid.ts";
import type { Columns } from "./layer-product.ts";
import { type Linear, placed, widthOf } from "./linear.ts";
import { stored, storedMatrix } from "./stored.ts";

/** Threads for the norms of GAIN_ROWS rows. */
const GAIN_THREADS = 64;

/**
 * Computes the norms of a layer's rows, `‖W_j + s·(B·A)_j‖`, and their gains `m_j / ‖…‖`, into the layer's `gains`. Record it before a
 * pass whenever A, B or m have changed. Does nothing for a layer without DoRA. One dispatch per pair.
 *
 * @throws {ShapeError} gains that are not `[2, Σ out]`
 * @see shaders/matmul/dora.wgsl.ts; doraGainsReference
 */
export function doraGains(record: Recorder, layer: Linear): void {
  const { weight, inner, lora } = layer;
  if (!lora?.dora) return;
  const { gains, magnitude, at } = lora.dora;
  const width = widthOf(layer);
  sameShape("compute DoRA's gains", gains, [2, width]);
  placed(layer).forEach(({ out, weightAt, column, place }, i) => {
    if (!place) return;
    const mAt = at[i];
    if (mAt === null)
      throw new ShapeError(`Cannot compute DoRA's gains: part ${i} of ${weight.label} has no magnitude`);
    const { aAt, bAt } = place;
    const vector = [inner, weightAt, aAt].every((n) => n % 4 === 0);
    record.dispatch(
      gainsShader,
      { weight: storedMatrix(weight), vector, workgroup: GAIN_THREADS },
      { weight, a: lora.a, b: lora.b, m: magnitude, gains },
      {
        out,
        inner,
        r: lora.r,
        width,
        column,
        weightAt,
        aAt,
        bAt,
        mAt,
        scales: codeBytes(sizeOf(weight.shape), weight.dtype) / 4,
        factor: lora.scale,
      },
      Math.ceil(out / GAIN_ROWS),
      2 * out * inner * (lora.r + 1),
    );
  });
}

/** Sets the magnitudes of a layer to the norms of its rows, as a new adapter has them: all gains become 1. */
export function startMagnitudes(record: Recorder, layer: Linear): void {
  doraGains(record, layer);
  const { lora } = layer;
  if (!lora?.dora) return;
  const { gains, magnitude, at } = lora.dora;
  const width = widthOf(layer);
  placed(layer).forEach(({ out, column, place }, i) => {
    if (place) record.copy(view(gains, [out], width + column), view(magnitude, [out], at[i]!));
  });
}

/**
 * `y = gain·y + bias`, in place, for all columns of a layer.
 *
 * @param y `[rows, ·]` f32, with the layer's columns from `first` on
 */
export function doraScaleOutput(record: Recorder, { tensor: y, first }: Columns, layer: Linear): void {
  const { bias, parts } = layer;
  const [rows, yStride] = y.shape;
  const { gains } = layer.lora!.dora!;
  const scale = (column: number, cols: number, biasAt: number) =>
    record.dispatch(
      doraScale,
      { form: "scale", bias: bias ? stored(bias) : "none", workgroup: WORKGROUP },
      { y, gains, ...(bias && { bias }) },
      { rows, cols, yStride, yFirst: first + column, xStride: 0, xFirst: 0, gainAt: column, biasAt, less: 0 },
      rowGrid(record, cols, rows),
    );
  let column = 0;
  const together =
    !bias || parts.every(({ biasAt }, i) => i === 0 || biasAt === parts[i - 1].biasAt + parts[i - 1].out);
  if (together) scale(0, widthOf(layer), parts[0].biasAt);
  else {
    for (const { out, biasAt } of parts) {
      scale(column, out, biasAt);
      column += out;
    }
  }
}

/** Columns to scale: `count` of them, whose gains begin at `gainAt`. */
interface Scaled {
  count: number;
  gainAt: number;
  /** subtracted from each gain: 0 or 1 */
  less: 0 | 1;
}

/** `to = (gain − less)·from`, or with `add` `to += …`, for some columns of two matrices of equally many rows. */
export function doraScaleColumns(
  record: Recorder,
  from: Columns,
  to: Columns,
  gains: Tensor,
  { count, gainAt, less }: Scaled,
  add = false,
): void {
  const [rows, yStride] = to.tensor.shape;
  record.dispatch(
    doraScale,
    { form: add ? "add" : "copy", bias: "none", workgroup: WORKGROUP },
    { y: to.tensor, x: from.tensor, gains },
    {
      rows,
      cols: count,
      yStride,
      yFirst: to.first,
      xStride: from.tensor.shape[1],
      xFirst: from.first,
      gainAt,
      biasAt: 0,
      less,
    },
    rowGrid(record, count, rows),
  );
}

/** `y += mask·x` with a dropout mask, from its row `row` on. @param y f32 `[rows, cols]`, of x's shape */
export function maskedAdd(
  record: Recorder,
  y: Tensor,
  x: Tensor,
  mask: { seed: number; p: number; row: number },
): void {
  sameShape("add with a mask", x, y.shape);
  const count = sizeOf(y.shape);
  const params = { count, first: mask.row * y.shape[1], seed: mask.seed, dropout: mask.p };
  record.dispatch(maskedShader, { workgroup: WORKGROUP }, { y, x }, params, threadGrid(count));
}

/**
 * Gradient of one pair's magnitudes: `dm_j += Σ_rows dy_j·u_j / ‖W_j + s·(B·A)_j‖`. As in PEFT, the norm is a constant.
 *
 * @param dy `[rows, ·]` f32, gradient of the layer's output
 * @param u `[rows, ·]` f32, the layer's output before gains and bias
 * @param part its number among the layer's parts
 */
export function magnitudeBackward(
  record: Recorder,
  dy: Columns,
  u: Columns,
  layer: Linear,
  part: number,
  dMagnitude: Tensor,
): void {
  const { out, column } = placed(layer)[part];
  const { gains, at } = layer.lora!.dora!;
  record.dispatch(
    magnitudeShader,
    {},
    { dy: dy.tensor, u: u.tensor, norms: gains, dm: dMagnitude },
    {
      rows: dy.tensor.shape[0],
      cols: out,
      dyStride: dy.tensor.shape[1],
      dyFirst: dy.first,
      uStride: u.tensor.shape[1],
      uFirst: u.first,
      normAt: widthOf(layer) + column,
      mAt: at[part]!,
    },
    Math.ceil(out / MAGNITUDE_TILE),
  );
}

/** Norms of the rows of `W + s·B·A`, in float64. @param w `[out, inner]`, `ba` the same shape, without the factor */
export function doraNormsReference(w: Float64Array, ba: Float64Array, scale: number, inner: number): Float64Array {
  return Float64Array.from({ length: w.length / inner }, (_, j) => {
    let sum = 0;
    for (let k = j * inner; k < (j + 1) * inner; k++) sum += (w[k] + scale * ba[k]) ** 2;
    return Math.sqrt(sum);
  });
}
