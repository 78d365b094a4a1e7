import { SEGMENT } from "../../../shaders/lib/segments.ts";
import {
  gatedRmsNormBackward as backwardShader,
  gatedRmsNorm as shader,
  gatedRmsNormWeightBackward as weightShader,
} from "../../../shaders/norm/gated-rms-norm.wgsl.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { biasBackward } from "../elementwise.ts";
import { sameShape, WORKGROUP } from "../grid.ts";
import { stored } from "../matmul/stored.ts";

/** Blocks of heads that the scale's gradient is summed by. */
const BLOCKS = 64;

/** Columns of a tensor `[rows, stride]` that gate the heads of a row: as many as those have, from `first` on. */
interface GateColumns {
  gate: Tensor;
  first: number;
}

/**
 * Scales each head of `x` to unit root mean square, by `weight`, then by `silu(gate)`.
 *
 * @param x `[rows, heads · size]` f32
 * @param weight `[size]`, f32, f16 or bf16
 * @returns `y`, shaped like x, and `rstd` f32 `[rows, heads]`
 * @throws {ShapeError} x that is no whole number of heads, or gates that lie outside of their tensor
 * @see shaders/norm/gated-rms-norm.wgsl.ts, gatedRmsNormReference
 */
export function gatedRmsNorm(
  record: Recorder,
  x: Tensor,
  columns: GateColumns,
  weight: Tensor,
  eps: number,
): { y: Tensor; rstd: Tensor } {
  const { variant, params, grid } = prepare(x, columns, weight);
  const y = record.empty(x.shape, "f32", `${x.label}.normed`);
  const rstd = record.empty([x.shape[0], params.heads], "f32", `${x.label}.rstd`);
  record.dispatch(shader, variant, { x, gate: columns.gate, weight, y, rstd }, { ...params, eps }, grid);
  return { y, rstd };
}

/**
 * Gradients of `gatedRmsNorm`.
 *
 * @param rstd what it gave
 * @param dy gradient of the result; becomes that of x
 * @param dgate like the gates' tensor: their columns are written
 * @param dweight f32 `[size]`, added to; null where the scale is frozen
 */
export function gatedRmsNormBackward(
  record: Recorder,
  { x, columns, weight, rstd }: { x: Tensor; columns: GateColumns; weight: Tensor; rstd: Tensor },
  dy: Tensor,
  { dgate, dweight }: { dgate: Tensor; dweight: Tensor | null },
): void {
  const { variant, params, grid } = prepare(x, columns, weight);
  const { gate } = columns;
  sameShape("norm backwards", dy, x.shape);
  sameShape("norm backwards", dgate, gate.shape);
  if (dweight) {
    const block = Math.ceil(params.items / BLOCKS);
    const blocks = Math.ceil(params.items / block);
    const { size, workgroup } = variant;
    const sums = record.empty([blocks, size], "f32", "d.norm.sums");
    const all = { ...params, block };
    record.dispatch(weightShader, { size, workgroup }, { x, gate, rstd, dy, sums }, all, [
      blocks,
      Math.ceil(size / workgroup),
    ]);
    biasBackward(record, sums, dweight);
    record.release(sums);
  }
  record.dispatch(backwardShader, variant, { x, gate, weight, rstd, dy, dgate }, params, grid);
}

function prepare(x: Tensor, { gate, first }: GateColumns, weight: Tensor) {
  const [size] = weight.shape;
  const [rows, width] = x.shape;
  const heads = width / size;
  if (!Number.isInteger(heads) || gate.shape[0] !== rows || first + width > gate.shape[1]) {
    throw new ShapeError(
      `Cannot norm x [${x.shape}] by weight [${size}] with gates from column ${first} of [${gate.shape}]`,
    );
  }
  const items = rows * heads;
  return {
    variant: { weight: stored(weight), size, workgroup: WORKGROUP },
    params: { items, heads, stride: gate.shape[1], first },
    grid: Math.ceil((items * SEGMENT) / WORKGROUP),
  };
}

/** One head in float64, and with dy its gradients. */
export function gatedRmsNormReference(
  x: Float64Array,
  gate: Float64Array,
  weight: Float64Array,
  eps: number,
  dy: Float64Array = new Float64Array(x.length),
) {
  const rstd = 1 / Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length + eps);
  const n = x.map((v) => v * rstd);
  const s = gate.map((g) => 1 / (1 + Math.exp(-g)));
  const h = x.map((_, c) => dy[c] * weight[c] * gate[c] * s[c]);
  const mean = h.reduce((sum, v, c) => sum + v * n[c], 0) / x.length;
  return {
    y: n.map((v, c) => v * weight[c] * gate[c] * s[c]),
    dx: h.map((v, c) => rstd * (v - n[c] * mean)),
    dgate: n.map((v, c) => dy[c] * weight[c] * v * s[c] * (1 + gate[c] * (1 - s[c]))),
    dweight: n.map((v, c) => dy[c] * v * gate[c] * s[c]),
  };
}
