import { geluBackward as backwardShader, gelu as shader } from "../../../shaders/mlp/gelu.wgsl.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { sizeOf, type Tensor } from "../../gpu/tensor.ts";
import { lanes, sameShape, threadGrid, WORKGROUP } from "../grid.ts";

/** `gelu_pytorch_tanh` is an approximation of `gelu`; the names are transformers'. */
export type GeluKind = "gelu" | "gelu_pytorch_tanh";

/**
 * `x·Φ(x)`, with the standard normal distribution Φ or tanh's approximation of it. Records one dispatch.
 *
 * @param x f32, any shape
 * @returns a new tensor shaped like x
 * @see shaders/mlp/gelu.wgsl.ts, geluReference, arXiv:1606.08415
 */
export function gelu(record: Recorder, x: Tensor, kind: GeluKind): Tensor {
  const y = record.empty(x.shape, "f32", `${x.label}.gelu`);
  const { vector, count } = lanes(sizeOf(x.shape));
  const variant = { exact: kind === "gelu", vector, workgroup: WORKGROUP };
  record.dispatch(shader, variant, { x, y }, { count }, threadGrid(count));
  return y;
}

/**
 * Gradient of `gelu`, in place: `x` becomes its gradient, and `dy` becomes the output of `gelu`.
 *
 * @param dy gradient of the result, shaped like x
 * @throws {ShapeError} shapes that differ
 */
export function geluBackward(record: Recorder, x: Tensor, dy: Tensor, kind: GeluKind): void {
  sameShape("gelu backwards", dy, x.shape);
  const { vector, count } = lanes(sizeOf(x.shape));
  const variant = { exact: kind === "gelu", vector, workgroup: WORKGROUP };
  record.dispatch(backwardShader, variant, { x, dy }, { count }, threadGrid(count));
}

/** The standard normal distribution, in float64: by its series near 0, by a continued fraction in its tails. */
function normal(x: number): number {
  const z = Math.abs(x);
  if (z > 38) return x > 0 ? 1 : 0;
  const density = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
  if (z < 4) {
    let [term, sum] = [x, x];
    for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
      term *= (x * x) / (2 * n + 1);
      sum += term;
    }
    return 0.5 + density * sum;
  }
  let fraction = z;
  for (let n = 200; n > 0; n--) fraction = z + n / fraction;
  return x > 0 ? 1 - density / fraction : density / fraction;
}

/** The same in float64 on the CPU, with the gradient of `Σ dy·y`. */
export function geluReference(x: Float64Array, kind: GeluKind, dy: Float64Array = new Float64Array(x.length)) {
  const [y, dx] = [new Float64Array(x.length), new Float64Array(x.length)];
  const factor = Math.sqrt(2 / Math.PI);
  x.forEach((v, i) => {
    let [cdf, slope] = [normal(v), Math.exp((-v * v) / 2) / Math.sqrt(2 * Math.PI)];
    if (kind === "gelu_pytorch_tanh") {
      const tanh = Math.tanh(factor * (v + 0.044715 * v ** 3));
      [cdf, slope] = [(1 + tanh) / 2, ((1 - tanh * tanh) / 2) * factor * (1 + 3 * 0.044715 * v * v)];
    }
    y[i] = v * cdf;
    dx[i] = dy[i] * (cdf + v * slope);
  });
  return { y, dx };
}
