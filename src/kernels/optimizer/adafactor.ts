import {
  adafactorApply,
  adafactorColumnParts,
  adafactorColumns,
  adafactorFull,
  adafactorMean,
  adafactorRows,
  adafactorSquares,
} from "../../../shaders/optimizer/adafactor.wgsl.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { sizeOf, type Tensor, view } from "../../gpu/tensor.ts";
import { ranges, sameShape, threadGrid, WORKGROUP } from "../grid.ts";
import { type AdamWOptions, ALIGN } from "./adamw.ts";

/** What Adafactor reads of the settings of an update. */
type AdafactorOptions = Pick<AdamWOptions, "learning_rate" | "weight_decay" | "step">;

/** A parameter with its gradient and moments, f32. */
interface AdafactorTensors {
  /** of any shape */
  param: Tensor;
  grad: Tensor;
  /** moments of the rows of a matrix, or of all elements of another parameter */
  row: Tensor;
  /** moments of the columns of a matrix; null: not a matrix */
  column: Tensor | null;
}

/** Threads of a workgroup that sums. */
const THREADS = 256;
/** Workgroups over one part of a parameter. */
const GROUPS = 256;
/** Rows of a partial sum over columns. */
const CHUNK = 256;
/** Added to squared gradients, as in transformers. */
const EPS = 1e-30;

/** The shape of the factors: `[rows, columns]`, or null for a parameter with one moment for each element. */
export function factorsOf(shape: readonly number[]): { rows: number; columns: number } | null {
  return shape.length === 2 && shape[0] > 1 && shape[1] > 1 ? { rows: shape[0], columns: shape[1] } : null;
}

/**
 * One update of Adafactor, in place, with transformers' settings for a given learning rate (no relative steps, no scaling
 * by the parameter, no first moment): `β = 1 − step^−0.8`, moments of g² + 1e-30 by row and column, the update divided by
 * its RMS where that is above 1. The gradient is multiplied by `norm[1]`. Where `norm[0]` is not finite, nothing changes.
 *
 * A matrix takes rows + columns numbers of state, other parameters one for each element.
 *
 * @param norm f32 `[2]` of `gradNorm`
 * @throws {ShapeError} moments of another shape
 * @see shaders/optimizer/adafactor.wgsl.ts, adafactorReference, arXiv:1804.04235, transformers' Adafactor
 */
export function adafactor(record: Recorder, tensors: AdafactorTensors, norm: Tensor, options: AdafactorOptions): void {
  const { param, grad, row, column } = tensors;
  const size = sizeOf(param.shape);
  const factors = column && { rows: sizeOf(row.shape), columns: sizeOf(column.shape) };
  sameShape("update by adafactor", norm, [2]);
  if (sizeOf(grad.shape) !== size || (factors ? factors.rows * factors.columns : sizeOf(row.shape)) !== size) {
    throw new ShapeError(
      `Cannot update by adafactor: ${param.label} [${param.shape}] has a gradient [${grad.shape}] and moments [${row.shape}]${column ? ` and [${column.shape}]` : ""}`,
    );
  }
  const beta = 1 - options.step ** -0.8;
  const columns = factors?.columns ?? 1;
  // parts begin at whole rows, and at offsets that a binding may have
  const unit = factors ? ALIGN * columns : ALIGN;
  const parts = ranges(record, size, unit, Math.max(unit, 1 << 24)).map(({ start, count }) => ({
    count,
    grad: view(grad, [count], start),
    param: view(param, [count], start),
    row: view(row, [count / columns], start / columns),
    groups: Math.min(GROUPS, Math.ceil(count / THREADS / 4)),
  }));
  if (factors) moments(record, parts, { row, column: column!, norm }, { ...factors, beta });
  else {
    for (const { count, grad, row } of parts) {
      const params = { count, beta, eps: EPS };
      record.dispatch(adafactorFull, { workgroup: WORKGROUP }, { grad, v: row, norm }, params, threadGrid(count));
    }
  }
  const mean = factors && meanOf(record, row, factors.rows);
  const more: Record<string, Tensor> = factors ? { column: column!, mean: mean! } : {};
  const groups = parts.reduce((sum, part) => sum + part.groups, 0);
  const squares = record.empty([groups], "f32", "adafactor.squares", "scratch");
  let first = 0;
  for (const { count, grad, row, groups: own } of parts) {
    const variant = { workgroup: THREADS, factored: factors !== null };
    const bindings = { grad, row, squares, norm, ...more };
    record.dispatch(adafactorSquares, variant, bindings, { count, columns, groups: own, first }, own);
    first += own;
  }
  const { learning_rate: learningRate, weight_decay } = options;
  for (const { count, grad, param, row } of parts) {
    const variant = { workgroup: WORKGROUP, factored: factors !== null };
    const params = { count, columns, groups, total: size, decay: 1 - learningRate * weight_decay, learningRate };
    record.dispatch(adafactorApply, variant, { param, grad, row, squares, norm, ...more }, params, threadGrid(count));
  }
  record.release(squares);
  if (mean) record.release(mean);
}

/** Moments of a matrix by row and by column. */
function moments(
  record: Recorder,
  parts: readonly { count: number; grad: Tensor; row: Tensor }[],
  { column, norm }: { row: Tensor; column: Tensor; norm: Tensor },
  { rows, columns, beta }: { rows: number; columns: number; beta: number },
): void {
  const chunks = parts.reduce((sum, { count }) => sum + Math.ceil(count / columns / CHUNK), 0);
  const sums = record.empty([chunks, columns], "f32", "adafactor.columns", "scratch");
  let first = 0;
  for (const { count, grad, row } of parts) {
    const own = count / columns;
    const shape = { rows: own, columns, eps: EPS };
    record.dispatch(adafactorRows, { workgroup: THREADS }, { grad, row, norm }, { ...shape, beta }, own);
    const grid: [number, number] = [Math.ceil(columns / WORKGROUP), Math.ceil(own / CHUNK)];
    const params = { ...shape, chunk: CHUNK, first };
    record.dispatch(adafactorColumnParts, { workgroup: WORKGROUP }, { grad, parts: sums, norm }, params, grid);
    first += grid[1];
  }
  const params = { rows, columns, chunks, beta };
  const bindings = { parts: sums, column, norm };
  record.dispatch(adafactorColumns, { workgroup: WORKGROUP }, bindings, params, threadGrid(columns));
  record.release(sums);
}

function meanOf(record: Recorder, row: Tensor, rows: number): Tensor {
  const mean = record.empty([1], "f32", "adafactor.mean", "scratch");
  record.dispatch(adafactorMean, { workgroup: THREADS }, { row, mean }, { rows }, 1);
  return mean;
}

/** The same in float64 on the CPU, on arrays that it overwrites; `scale` multiplies the gradient. */
export function adafactorReference(
  param: Float64Array,
  grad: Float64Array,
  { row, column }: { row: Float64Array; column: Float64Array | null },
  scale: number,
  { learning_rate, weight_decay, step }: AdafactorOptions,
): void {
  const beta = 1 - step ** -0.8;
  const g = grad.map((value) => value * scale);
  const columns = column?.length ?? 1;
  const squares = g.map((value) => value * value + EPS);
  const meanOver = (at: (k: number) => number, count: number) => {
    let sum = 0;
    for (let k = 0; k < count; k++) sum += squares[at(k)];
    return sum / count;
  };
  const ema = (moments: Float64Array, value: (i: number) => number) => {
    for (let i = 0; i < moments.length; i++) moments[i] = beta * moments[i] + (1 - beta) * value(i);
  };
  ema(row, (r) => meanOver((c) => r * columns + c, columns));
  if (column) ema(column, (c) => meanOver((r) => r * columns + c, row.length));
  const mean = column ? row.reduce((sum, value) => sum + value, 0) / row.length : 1;
  const update = g.map((value, i) => {
    if (!column) return value / Math.sqrt(row[i]);
    return value / Math.sqrt(row[Math.floor(i / columns)] / mean) / Math.sqrt(column[i % columns]);
  });
  const rms = Math.sqrt(update.reduce((sum, value) => sum + value * value, 0) / update.length);
  for (let i = 0; i < param.length; i++) {
    param[i] = param[i] * (1 - learning_rate * weight_decay) - (learning_rate * update[i]) / Math.max(1, rms);
  }
}
