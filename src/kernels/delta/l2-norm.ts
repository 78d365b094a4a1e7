import { deltaL2NormBackward as backwardShader, deltaL2Norm as shader } from "../../../shaders/delta/l2-norm.wgsl.ts";
import { SEGMENT } from "../../../shaders/lib/segments.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { sameShape, WORKGROUP } from "../grid.ts";
import { type DeltaHeads, deltaVariant, deltaWidth } from "./heads.ts";

const EPS = 1e-6;

/**
 * Scales each query and key head to unit length, `x·rsqrt(Σx² + 1e-6)`, and queries by `1/√key_head_dim` as well, in place.
 *
 * @param x `[tokens, width]` f32: query heads, key heads, then values, which stay as they are
 * @returns the rsqrt of each head, f32 `[tokens, 2·num_key_heads]`, for the backward pass
 * @throws {ShapeError} x of another width
 * @see shaders/delta/l2-norm.wgsl.ts, deltaL2NormReference
 */
export function deltaL2Norm(record: Recorder, x: Tensor, heads: DeltaHeads): Tensor {
  const [rows] = x.shape;
  const { variant, items, grid } = prepare(x, heads);
  const scales = record.empty([rows, 2 * heads.num_key_heads], "f32", "delta.scales");
  record.dispatch(shader, variant, { x, scales }, { items }, grid);
  return scales;
}

/**
 * Gradient of `deltaL2Norm`.
 *
 * @param y what it left, and `scales` what it gave
 * @param parts `[tokens, num_value_heads, 2, key_head_dim]`: gradients of the normed query and key by value head, summed here
 * @param dx `[tokens, width]`: its query and key columns are written
 */
export function deltaL2NormBackward(
  record: Recorder,
  { y, scales }: { y: Tensor; scales: Tensor },
  parts: Tensor,
  dx: Tensor,
  heads: DeltaHeads,
): void {
  const { variant, items, grid } = prepare(y, heads);
  sameShape("norm heads backwards", dx, y.shape);
  sameShape("norm heads backwards", parts, [y.shape[0], heads.num_value_heads, 2, heads.key_head_dim]);
  const all = { ...variant, valueHeads: heads.num_value_heads };
  record.dispatch(backwardShader, all, { y, scales, parts, dx }, { items }, grid);
}

function prepare(x: Tensor, heads: DeltaHeads) {
  const { keyDim, keyHeads } = deltaVariant(heads);
  sameShape("norm heads", x, [x.shape[0], deltaWidth(heads)]);
  const items = x.shape[0] * 2 * keyHeads;
  return {
    variant: { keyDim, keyHeads, width: deltaWidth(heads) / 4, workgroup: WORKGROUP },
    items,
    grid: Math.ceil((items * SEGMENT) / WORKGROUP),
  };
}

/** One head in float64: `factor·x·rsqrt(Σx² + 1e-6)`. */
export function deltaL2NormReference(x: Float64Array, factor: number): Float64Array {
  const scale = factor / Math.sqrt(x.reduce((sum, v) => sum + v * v, EPS));
  return x.map((v) => v * scale);
}

/** Gradient of `Σ dy·deltaL2Norm(x)` for one head, in float64. */
export function deltaL2NormBackwardReference(x: Float64Array, factor: number, dy: Float64Array): Float64Array {
  const scale = 1 / Math.sqrt(x.reduce((sum, v) => sum + v * v, EPS));
  const along = x.reduce((sum, v, i) => sum + v * dy[i], 0);
  return x.map((v, i) => factor * scale * (dy[i] - v * along * scale * scale));
}
