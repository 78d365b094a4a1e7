import { blendRows as shader } from "../../../shaders/vision/blend-rows.wgsl.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { rowGrid, sameShape, WORKGROUP } from "../grid.ts";
import { stored } from "../matmul/stored.ts";

/** A sparse matrix `[rows, columns]` by rows: entry e of row r, `starts[r] ≤ e < starts[r + 1]`, is at column `sources[e]`. */
export interface SparseRows {
  starts: Uint32Array;
  sources: Uint32Array;
  factors: Float32Array;
}

/** The transpose of a sparse matrix of `columns` columns; entries of a row keep the order of the rows that they were in. */
export function transposeSparse({ starts, sources, factors }: SparseRows, columns: number): SparseRows {
  const ends = new Uint32Array(columns + 1);
  for (const column of sources) ends[column + 1]++;
  for (let c = 0; c < columns; c++) ends[c + 1] += ends[c];
  const to = {
    starts: ends.slice(),
    sources: new Uint32Array(sources.length),
    factors: new Float32Array(sources.length),
  };
  for (let r = 0; r + 1 < starts.length; r++) {
    for (let e = starts[r]; e < starts[r + 1]; e++) {
      const at = ends[sources[e]]++;
      to.sources[at] = r;
      to.factors[at] = factors[e];
    }
  }
  return to;
}

/**
 * Adds to each row of `y` a weighted sum of rows of `x`: `y += S·x` of a sparse matrix S. Records one dispatch.
 *
 * @param x `[columns of S, width]` f32, f16 or bf16
 * @param y `[rows of S, width]` f32
 * @throws {ShapeError} y of another shape
 * @see shaders/vision/blend-rows.wgsl.ts, blendRowsReference
 */
export function blendRows(record: Recorder, x: Tensor, { starts, sources, factors }: SparseRows, y: Tensor): void {
  const [rows, width] = [starts.length - 1, x.shape[1]];
  sameShape("blend rows", y, [rows, width]);
  const tensors = {
    starts: record.upload(starts, [starts.length], "starts"),
    sources: record.upload(sources, [sources.length], "sources"),
    factors: record.upload(factors, [factors.length], "factors"),
  };
  const grid = rowGrid(record, width, rows);
  record.dispatch(shader, { stored: stored(x), workgroup: WORKGROUP }, { x, ...tensors, y }, { rows, width }, grid);
  record.release(...Object.values(tensors));
}

/** `S·x` in float64 on the CPU. */
export function blendRowsReference(x: Float64Array, width: number, { starts, sources, factors }: SparseRows) {
  const y = new Float64Array((starts.length - 1) * width);
  for (let r = 0; r + 1 < starts.length; r++) {
    for (let e = starts[r]; e < starts[r + 1]; e++) {
      for (let c = 0; c < width; c++) y[r * width + c] += factors[e] * x[sources[e] * width + c];
    }
  }
  return y;
}
