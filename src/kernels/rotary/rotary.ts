import { rotary as shader } from "../../../shaders/rotary/rotary.wgsl.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { rowGrid, sameShape, WORKGROUP } from "../grid.ts";

/**
 * Rotates the first heads of every row by its position, in place: for every pair `(i, i + R/2)` of a head's first R elements,
 * `(a, b) → (a·cos − b·sin, b·cos + a·sin)`.
 *
 * Records one dispatch and submits nothing.
 *
 * @param x `[T, heads·D + …]` f32: query and key heads, then elements that do not change
 * @param positions position of each token within its sequence, u32 `[T]`, each below the number of rows of `table`
 * @param table f32 `[P, R]`; row p holds R/2 cosines, then R/2 sines, of the angles at position p; R is even and at most D
 * @param headDim D
 * @param heads how many of a row's heads turn
 * @param inverse rotate by the negative angle: the transpose, so that gradients go back through the same function
 * @throws {ShapeError} `Cannot rotate 2 heads of q [5,894], of 64 each: it must be [5, a whole number of heads]`
 * @see shaders/rotary/rotary.wgsl.ts, rotaryReference, arXiv:2104.09864
 */
export function rotary(
  record: Recorder,
  x: Tensor,
  { positions, table }: { positions: Tensor; table: Tensor },
  { headDim, heads, inverse = false }: { headDim: number; heads: number; inverse?: boolean },
): void {
  const [rows] = x.shape;
  const turned = table.shape[1];
  if (turned % 2 !== 0 || turned < 2 || turned > headDim) {
    throw new ShapeError(
      `Cannot rotate ${turned} elements of heads of ${headDim}: an even number is needed, of at most as many`,
    );
  }
  const stride = x.shape[1] / headDim;
  if (x.shape.length !== 2 || !Number.isInteger(stride) || heads > stride) {
    throw new ShapeError(
      `Cannot rotate ${heads} heads of ${x.label} [${x.shape}], of ${headDim} each: it must be [${rows}, a whole number of heads]`,
    );
  }
  sameShape("rotate", positions, [rows]);
  const vector = headDim % 4 === 0 && turned % 8 === 0;
  const threads = (heads * turned) / (vector ? 8 : 2);
  record.dispatch(
    shader,
    { headDim, turned, vector, inverse, workgroup: WORKGROUP },
    { x, positions, table },
    { rows, heads, stride },
    rowGrid(record, threads, rows),
  );
}

/** The same in float64 on the CPU, for one of q and k. */
export function rotaryReference(
  x: Float64Array,
  positions: ArrayLike<number>,
  table: Float64Array,
  headDim: number,
  inverse = false,
  turned = headDim,
): Float64Array {
  const y = x.slice();
  const half = turned / 2;
  const width = x.length / positions.length;
  for (let start = 0; start < x.length; start += headDim) {
    const angle = positions[Math.floor(start / width)] * turned;
    for (let i = 0; i < half; i++) {
      const [a, b] = [x[start + i], x[start + half + i]];
      const [cosine, sine] = [table[angle + i], (inverse ? -1 : 1) * table[angle + half + i]];
      y[start + i] = a * cosine - b * sine;
      y[start + half + i] = b * cosine + a * sine;
    }
  }
  return y;
}
