import {
  sigmoidGateBackward as backwardShader,
  moveHeads as moveShader,
  sigmoidGate as shader,
} from "../../../shaders/attention/gate.wgsl.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { rowGrid, sameShape, WORKGROUP } from "../grid.ts";

/** Some heads of rows of `per` heads: every `step`-th from `first` on. */
interface HeadPlaces {
  per: number;
  first: number;
  step?: number;
}

/**
 * Copies heads of each row to places in the rows of another tensor.
 *
 * @param x `[rows, from.per · headDim]` f32, `y` `[rows, to.per · headDim]`
 * @param take how many heads
 */
export function moveHeads(
  record: Recorder,
  [x, from]: readonly [Tensor, HeadPlaces],
  [y, to]: readonly [Tensor, HeadPlaces],
  { headDim, take }: { headDim: number; take: number },
): void {
  const [rows] = x.shape;
  sameShape("move heads", x, [rows, from.per * headDim]);
  sameShape("move heads", y, [rows, to.per * headDim]);
  const vector = headDim % 4 === 0;
  const params = {
    rows,
    take,
    xPer: from.per,
    xFirst: from.first,
    xStep: from.step ?? 1,
    yPer: to.per,
    yFirst: to.first,
    yStep: to.step ?? 1,
  };
  const grid = rowGrid(record, (take * headDim) / (vector ? 4 : 1), rows);
  record.dispatch(moveShader, { headDim, vector, workgroup: WORKGROUP }, { x, y }, params, grid);
}

/**
 * Attention's output times the sigmoid of its gate: `y = o·σ(gate)`.
 *
 * @param o `[rows, heads · headDim]` f32
 * @param x `[rows, per · headDim]` f32, in which the gate of head h is head 2·h + 1
 * @returns a new tensor shaped like o
 * @throws {ShapeError} x with too few heads
 * @see shaders/attention/gate.wgsl.ts, sigmoidGateReference
 */
export function sigmoidGate(record: Recorder, o: Tensor, x: Tensor, headDim: number): Tensor {
  const y = record.empty(o.shape, "f32", `${o.label}.gated`);
  const { variant, params, grid } = prepare(record, o, x, headDim);
  record.dispatch(shader, variant, { o, x, y }, params, grid);
  return y;
}

/**
 * Gradient of `sigmoidGate`.
 *
 * @param dy gradient of the result; becomes that of o
 * @param dx like x: its gates are written
 */
export function sigmoidGateBackward(
  record: Recorder,
  { o, x }: { o: Tensor; x: Tensor },
  dy: Tensor,
  dx: Tensor,
  headDim: number,
): void {
  const { variant, params, grid } = prepare(record, o, x, headDim);
  sameShape("gate backwards", dy, o.shape);
  sameShape("gate backwards", dx, x.shape);
  record.dispatch(backwardShader, variant, { o, x, dy, dx }, params, grid);
}

function prepare(record: Recorder, o: Tensor, x: Tensor, headDim: number) {
  const [rows, width] = o.shape;
  const [heads, per] = [width / headDim, x.shape[1] / headDim];
  if (!Number.isInteger(heads) || !Number.isInteger(per) || per < 2 * heads || x.shape[0] !== rows) {
    throw new ShapeError(`Cannot gate ${o.label} [${o.shape}] by heads of ${headDim} in ${x.label} [${x.shape}]`);
  }
  const vector = headDim % 4 === 0;
  return {
    variant: { headDim, vector, workgroup: WORKGROUP },
    params: { rows, heads, per },
    grid: rowGrid(record, width / (vector ? 4 : 1), rows),
  };
}

/** The same in float64 on the CPU, of gates side by side, and with dy its gradients. */
export function sigmoidGateReference(
  o: Float64Array,
  gate: Float64Array,
  dy: Float64Array = new Float64Array(o.length),
) {
  const s = gate.map((g) => 1 / (1 + Math.exp(-g)));
  return {
    y: o.map((v, i) => v * s[i]),
    dO: dy.map((d, i) => d * s[i]),
    dgate: dy.map((d, i) => d * o[i] * s[i] * (1 - s[i])),
  };
}
