import { rotary as shader } from "../../../shaders/rotary/rotary.wgsl.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { rowGrid, sameShape, WORKGROUP } from "../grid.ts";

/**
 * Rotates the first heads of every row by its position, in place: for every pair `(i, i + D/2)` of a head,
 * `(a, b) → (a·cos − b·sin, b·cos + a·sin)`.
 *
 * Records one dispatch and submits nothing.
 *
 * @param x `[T, heads·D + …]` f32: query and key heads, then elements that do not change
 * @param positions position of each token within its sequence, u32 `[T]`, each below the number of rows of `table`
 * @param table f32 `[P, D]`; row p holds D/2 cosines, then D/2 sines, of the angles at position p
 * @param headDim D, even
 * @param heads number of heads to rotate in each row
 * @param inverse rotate by the negative angle (the transpose), for gradients
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
  if (headDim % 2 !== 0 || headDim < 2) {
    throw new ShapeError(`Cannot rotate heads of ${headDim} elements: the number must be even`);
  }
  const stride = x.shape[1] / headDim;
  if (x.shape.length !== 2 || !Number.isInteger(stride) || heads > stride) {
    throw new ShapeError(
      `Cannot rotate ${heads} heads of ${x.label} [${x.shape}], of ${headDim} each: it must be [${rows}, a whole number of heads]`,
    );
  }
  sameShape("rotate", positions, [rows]);
  sameShape("rotate", table, [table.shape[0], headDim]);
  const vector = headDim % 8 === 0;
  const threads = (heads * headDim) / (vector ? 8 : 2);
  record.dispatch(
    shader,
    { headDim, vector, inverse, workgroup: WORKGROUP },
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
): Float64Array {
  const y = new Float64Array(x.length);
  const half = headDim / 2;
  const width = x.length / positions.length;
  for (let start = 0; start < x.length; start += headDim) {
    const angle = positions[Math.floor(start / width)] * headDim;
    for (let i = 0; i < half; i++) {
      const [a, b] = [x[start + i], x[start + half + i]];
      const [cosine, sine] = [table[angle + i], (inverse ? -1 : 1) * table[angle + half + i]];
      y[start + i] = a * cosine - b * sine;
      y[start + half + i] = b * cosine + a * sine;
    }
  }
  return y;
}
