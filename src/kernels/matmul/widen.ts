import { widen as shader, WIDEN_CODES } from "../../../shaders/matmul/widen.wgsl.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { codeBytes, isQuantized, sizeOf, type Tensor } from "../../gpu/tensor.ts";

const WORKGROUP = 64;

/**
 * Writes codes times their scales as f32. Records one dispatch.
 *
 * @param codes int8 or nf4
 * @param wide f32
 * @param range `count` elements from `first` on, to element `at` of wide: multiples of 32
 * @throws {ShapeError} a range that does not begin and end at multiples of 32, or is longer than `codes` or `wide`
 * @see shaders/matmul/widen.wgsl.ts
 */
export function widen(
  record: Recorder,
  codes: Tensor,
  wide: Tensor,
  { first = 0, count, at = 0 }: { first?: number; count: number; at?: number },
): void {
  const { dtype } = codes;
  const what = `elements ${first} to ${first + count} of ${codes.label} [${codes.shape}] ${dtype} to element ${at} of ${wide.label} [${wide.shape}] ${wide.dtype}`;
  if (!isQuantized(dtype) || wide.dtype !== "f32") throw new ShapeError(`Cannot widen ${what}: int8 or nf4 become f32`);
  const size = sizeOf(codes.shape);
  if ([first, count, at].some((n) => n % WIDEN_CODES !== 0)) {
    throw new ShapeError(`Cannot widen ${what}: a range must begin and end at multiples of ${WIDEN_CODES}`);
  }
  if (first + count > size || at + count > sizeOf(wide.shape)) {
    throw new ShapeError(`Cannot widen ${what}: the range is longer than what is there`);
  }
  const groups = count / WIDEN_CODES;
  record.dispatch(
    shader,
    { codes: dtype, workgroup: WORKGROUP },
    { codes, scales: codes, wide },
    {
      groups,
      first: first / WIDEN_CODES,
      at: at / WIDEN_CODES,
      scalesAt: codeBytes(size, dtype) / 4,
    },
    Math.ceil(groups / WORKGROUP),
    count,
  );
}
