import { swigluBackward as backwardShader, swiglu as shader } from "../../shaders/swiglu.wgsl.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { sizeOf, type Tensor } from "../gpu/tensor.ts";
import { lanes, sameShape, threadGrid, WORKGROUP } from "./grid.ts";

/**
 * The gated activation of the MLP: `silu(gate) · up`, `silu(g) = g / (1 + e⁻ᵍ)`.
 *
 * Records one dispatch and submits nothing.
 *
 * @param gate `[T, I]` f32
 * @param up `[T, I]` f32
 * @returns a new tensor `[T, I]` f32
 * @throws {ShapeError} `Cannot swiglu: up [3,63] must be [3,65]`
 * @see shaders/swiglu.wgsl.ts, swigluReference, arXiv:2002.05202
 */
export function swiglu(record: Recorder, gate: Tensor, up: Tensor): Tensor {
  sameShape("swiglu", up, gate.shape);
  const y = record.empty(gate.shape, "f32", `${gate.label}.swiglu`);
  const { vector, count } = lanes(sizeOf(gate.shape));
  record.dispatch(shader, { vector, workgroup: WORKGROUP }, { gate, up, y }, { count }, threadGrid(count));
  return y;
}

/**
 * Gradient of `swiglu`, in place: `gate` becomes d gate and `up` becomes d up.
 *
 * @param dy gradient of the result `[T, I]` f32
 * @throws {ShapeError} where the three shapes differ
 */
export function swigluBackward(record: Recorder, gate: Tensor, up: Tensor, dy: Tensor): void {
  sameShape("swiglu_backward", up, gate.shape);
  sameShape("swiglu_backward", dy, gate.shape);
  const { vector, count } = lanes(sizeOf(gate.shape));
  record.dispatch(backwardShader, { vector, workgroup: WORKGROUP }, { gate, up, dy }, { count }, threadGrid(count));
}

/** The same in float64 on the CPU. */
export function swigluReference(gate: Float64Array, up: Float64Array): Float64Array {
  return gate.map((g, i) => (g / (1 + Math.exp(-g))) * up[i]);
}

/** Gradients of `Σ dy·swiglu(gate, up)`, in float64. */
export function swigluBackwardReference(
  gate: Float64Array,
  up: Float64Array,
  dy: Float64Array,
): { dgate: Float64Array; dup: Float64Array } {
  const sigmoid = gate.map((g) => 1 / (1 + Math.exp(-g)));
  return {
    dgate: gate.map((g, i) => dy[i] * up[i] * sigmoid[i] * (1 + g * (1 - sigmoid[i]))),
    dup: gate.map((g, i) => dy[i] * g * sigmoid[i]),
  };
}
