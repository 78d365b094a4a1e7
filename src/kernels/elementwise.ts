import {
  add as addShader,
  biasBackward as biasShader,
  moveRows as moveShader,
  reduceSum as reduceShader,
  roundBf16 as roundShader,
  scale as scaleShader,
  widenBf16 as widenShader,
} from "../../shaders/elementwise.wgsl.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { sizeOf, type Tensor } from "../gpu/tensor.ts";
import { lanes, part, ranges, rowGrid, sameShape, sameSize, threadGrid, WORKGROUP } from "./grid.ts";

const ALIGN = 64;
/** Elements of bf16 that an aligned view begins at a multiple of. */
const ALIGN_BF16 = 128;
const THREADS = 256;
const GROUPS = 64;

/**
 * `x += y`, in place.
 *
 * @param x f32, any shape
 * @param y f32, with the same number of elements
 * @throws {ShapeError} `Cannot add: y [63] must have as many elements as x [65]`
 */
export function add(record: Recorder, x: Tensor, y: Tensor): void {
  sameSize("add", x, y);
  for (const { start, count: length } of ranges(record, sizeOf(x.shape), ALIGN)) {
    const { vector, count } = lanes(length);
    const bindings = { x: part(x, start, length), y: part(y, start, length) };
    record.dispatch(addShader, { vector, workgroup: WORKGROUP }, bindings, { count }, threadGrid(count));
  }
}

/** `x *= factor`, in place; x is f32 of any shape. */
export function scale(record: Recorder, x: Tensor, factor: number): void {
  for (const { start, count: length } of ranges(record, sizeOf(x.shape), ALIGN)) {
    const { vector, count } = lanes(length);
    const bindings = { x: part(x, start, length) };
    record.dispatch(scaleShader, { vector, workgroup: WORKGROUP }, bindings, { count, factor }, threadGrid(count));
  }
}

/**
 * A copy rounded to bf16, to nearest with ties to even, in half the memory.
 *
 * @param x f32, any shape
 * @returns bf16, shaped like x
 */
export function roundBf16(record: Recorder, x: Tensor): Tensor {
  const packed = record.empty(x.shape, "bf16", x.label);
  for (const { start, count: length } of ranges(record, sizeOf(x.shape), ALIGN_BF16)) {
    const vector = length % 4 === 0;
    const count = Math.ceil(length / (vector ? 4 : 2));
    const bindings = { x: part(x, start, length), packed: part(packed, start, length) };
    record.dispatch(roundShader, { vector, workgroup: WORKGROUP }, bindings, { count, length }, threadGrid(count));
  }
  return packed;
}

/**
 * The same values as f32; exact.
 *
 * @param packed bf16, any shape
 * @returns f32, shaped like packed
 */
export function widenBf16(record: Recorder, packed: Tensor): Tensor {
  const x = record.empty(packed.shape, "f32", packed.label);
  for (const { start, count: length } of ranges(record, sizeOf(packed.shape), ALIGN_BF16)) {
    const { vector, count } = lanes(length);
    const bindings = { packed: part(packed, start, length), x: part(x, start, length) };
    record.dispatch(widenShader, { vector, workgroup: WORKGROUP }, bindings, { count }, threadGrid(count));
  }
  return x;
}

/**
 * The sum of all elements; deterministic.
 *
 * @param x f32, any shape
 * @returns f32 `[1]`
 */
export function reduceSum(record: Recorder, x: Tensor): Tensor {
  const sum = record.empty([1], "f32", `${x.label}.sum`);
  const parts = ranges(record, sizeOf(x.shape), ALIGN).map(({ start, count }) => ({
    x: part(x, start, count),
    count,
    groups: Math.min(GROUPS, Math.ceil(count / THREADS / 4)),
  }));
  const groups = parts.reduce((total, p) => total + p.groups, 0);
  const finish = (from: Tensor, count: number) => {
    record.dispatch(reduceShader, { workgroup: THREADS }, { x: from, sums: sum }, { count, groups: 1, slot: 0 }, 1);
  };
  if (groups === 0) record.clear(sum);
  else if (groups === 1) finish(parts[0].x, parts[0].count);
  else {
    const sums = record.empty([groups], "f32", `${x.label}.sums`, "scratch");
    let slot = 0;
    for (const p of parts) {
      const params = { count: p.count, groups: p.groups, slot };
      record.dispatch(reduceShader, { workgroup: THREADS }, { x: p.x, sums }, params, p.groups);
      slot += p.groups;
    }
    finish(sums, groups);
    record.release(sums);
  }
  return sum;
}

/**
 * Rows by index: `y[r] = x[indices[r]]`.
 *
 * @param x f32 `[T, H]`
 * @param indices u32 `[R]`, each below T
 * @returns a new tensor `[R, H]`
 * @throws {ShapeError} x or indices of another rank
 */
export function gatherRows(record: Recorder, x: Tensor, indices: Tensor): Tensor {
  const [count] = indices.shape;
  const [rows, columns] = x.shape;
  sameShape("gather rows", x, [rows, columns]);
  sameShape("gather rows", indices, [count]);
  const y = record.empty([count, columns], "f32", `${x.label}.rows`);
  move(record, x, indices, y, columns, false);
  return y;
}

/**
 * The transpose of `gatherRows`: `into[indices[r]] = rows[r]`; rows without an index do not change.
 *
 * @param rows f32 `[R, H]`
 * @param indices u32 `[R]`, distinct, each below T
 * @param into f32 `[T, H]`, zeroed by the caller
 * @throws {ShapeError} widths or lengths that differ
 */
export function scatterRows(record: Recorder, rows: Tensor, indices: Tensor, into: Tensor): void {
  const [count, columns] = rows.shape;
  sameShape("scatter rows", indices, [count]);
  sameShape("scatter rows", into, [into.shape[0], columns]);
  move(record, rows, indices, into, columns, true);
}

function move(record: Recorder, rows: Tensor, indices: Tensor, to: Tensor, columns: number, scatter: boolean): void {
  const { vector, count: width } = lanes(columns);
  const [count] = indices.shape;
  record.dispatch(
    moveShader,
    { vector, scatter, workgroup: WORKGROUP },
    { rows, indices, to },
    { count, width },
    rowGrid(record, width, count),
  );
}

/**
 * Gradient of a bias: `dbias += Σ_rows dy`.
 *
 * @param dy f32 `[T, N]`
 * @param dbias f32, accumulated
 * @param range columns of dy, and the entry of dbias for the first column; default: all
 * @throws {ShapeError} `Cannot take a bias gradient: dbias [63] must be [65]`
 */
export function biasBackward(
  record: Recorder,
  dy: Tensor,
  dbias: Tensor,
  range?: { column: number; count: number; at: number },
): void {
  const [rows, stride] = dy.shape;
  if (!range) sameShape("take a bias gradient", dbias, [stride]);
  const { column, count, at } = range ?? { column: 0, count: stride, at: 0 };
  const vector = [stride, column, count, at].every((n) => n % 4 === 0);
  const [cols, width, first, into] = [count, stride, column, at].map((n) => (vector ? n / 4 : n));
  record.dispatch(
    biasShader,
    { vector, workgroup: WORKGROUP },
    { dy, dbias },
    { rows, cols, width, first, into },
    threadGrid(cols),
  );
}

/** A number rounded to bf16, to nearest with ties to even, in float64; for normal numbers of bf16's range. */
export function roundBf16Reference(x: number): number {
  if (x === 0) return x;
  const step = 2 ** (Math.floor(Math.log2(Math.abs(x))) - 7);
  const low = Math.floor(x / step);
  const rest = x / step - low;
  return step * (rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low);
}

/** Rows by index, in float64. */
export function gatherRowsReference(x: Float64Array, width: number, indices: readonly number[]): Float64Array {
  return Float64Array.from({ length: indices.length * width }, (_, i) => {
    return x[indices[Math.floor(i / width)] * width + (i % width)];
  });
}

/** The result of `scatterRows` into `rows` rows of zeros, in float64: the gradient of `gatherRows`. */
export function scatterRowsReference(
  values: Float64Array,
  width: number,
  indices: readonly number[],
  rows: number,
): Float64Array {
  const into = new Float64Array(rows * width);
  indices.forEach((row, r) => {
    into.set(values.subarray(r * width, (r + 1) * width), row * width);
  });
  return into;
}

/** Column sums, in float64: the gradient of a bias that is added to every row. */
export function biasBackwardReference(dy: Float64Array, width: number): Float64Array {
  const dbias = new Float64Array(width);
  dy.forEach((d, i) => {
    dbias[i % width] += d;
  });
  return dbias;
}
