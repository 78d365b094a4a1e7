import { swigluBackward as backwardShader, swiglu as shader } from "../../../shaders/mlp/swiglu.wgsl.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { sameShape, threadGrid, WORKGROUP } from "../grid.ts";

/**
 * The gated activation of the MLP: `silu(gate) · up`, `silu(g) = g / (1 + e⁻ᵍ)`.
 *
 * Records one dispatch and submits nothing. `loraLinear` can do the same as its epilogue.
 *
 * @param gateUp `[T, 2·I]` f32: gate, then up
 * @returns a new tensor `[T, I]` f32
 * @throws {ShapeError} `Cannot swiglu: y [3,32] must be [3,31.5]`
 * @see shaders/mlp/swiglu.wgsl.ts, swigluReference, arXiv:2002.05202
 */
export function swiglu(record: Recorder, gateUp: Tensor): Tensor {
  const [rows, columns] = gateUp.shape;
  const y = record.empty([rows, Math.ceil(columns / 2)], "f32", `${gateUp.label}.swiglu`);
  dispatch(record, shader, "swiglu", gateUp, { y });
  return y;
}

/**
 * Gradient of `swiglu`, in place: the halves of `gateUp` become d gate and d up, and `dy` becomes the output of
 * `swiglu`.
 *
 * @param dy gradient of the result `[T, I]` f32
 * @throws {ShapeError} shapes that do not match
 */
export function swigluBackward(record: Recorder, gateUp: Tensor, dy: Tensor): void {
  dispatch(record, backwardShader, "swiglu_backward", gateUp, { dy });
}

function dispatch(
  record: Recorder,
  kernel: typeof shader,
  what: string,
  gateUp: Tensor,
  other: { y: Tensor } | { dy: Tensor },
): void {
  const [rows, columns] = gateUp.shape;
  const [half] = Object.values(other);
  sameShape(what, half, [rows, columns / 2]);
  const vector = half.shape[1] % 4 === 0;
  const width = half.shape[1] / (vector ? 4 : 1);
  const count = rows * width;
  record.dispatch(kernel, { vector, workgroup: WORKGROUP }, { gateUp, ...other }, { count, width }, threadGrid(count));
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
