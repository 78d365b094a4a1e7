import {
  deltaGatesBackward as backwardShader,
  deltaRatesBackward as ratesShader,
  deltaGates as shader,
} from "../../../shaders/delta/gates.wgsl.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { sameShape, threadGrid, WORKGROUP } from "../grid.ts";
import { stored } from "../matmul/stored.ts";

/** What decays depend on beside their input: `A_log` and `dt_bias` `[heads]`, f32, f16 or bf16. */
interface DeltaRates {
  rate: Tensor;
  bias: Tensor;
}

/**
 * Decay and step size of each value head: `g = −exp(A_log)·softplus(a + dt_bias)`, `beta = σ(b)`.
 *
 * @param x `[tokens, stride]` f32: a column of b for each head from `at` on, then as many of a
 * @returns gates f32 `[tokens, heads, 2]`: g, beta
 * @throws {ShapeError} `Cannot take gates …` where the columns do not lie in x
 * @see shaders/delta/gates.wgsl.ts, deltaGatesReference
 */
export function deltaGates(record: Recorder, x: Tensor, at: number, { rate, bias }: DeltaRates): Tensor {
  const { variant, params } = prepare(x, at, { rate, bias });
  const gates = record.empty([x.shape[0], params.heads, 2], "f32", "delta.gates");
  record.dispatch(shader, variant, { x, rate, bias, gates }, params, threadGrid(params.count));
  return gates;
}

/**
 * Gradients of `deltaGates`.
 *
 * @param dgates `[tokens, heads, 2]`: dg, dbeta
 * @param dx `[tokens, stride]`: its columns of b and a are written
 * @param grads f32 `[heads]` each, added to; null where they are frozen
 */
export function deltaGatesBackward(
  record: Recorder,
  { x, at, gates, rates }: { x: Tensor; at: number; gates: Tensor; rates: DeltaRates },
  dgates: Tensor,
  dx: Tensor,
  grads: DeltaRates | null,
): void {
  const { variant, params } = prepare(x, at, rates);
  sameShape("take gates backwards", dx, x.shape);
  sameShape("take gates backwards", dgates, gates.shape);
  record.dispatch(backwardShader, variant, { x, ...rates, dgates, dx }, params, threadGrid(params.count));
  if (!grads) return;
  const { heads, stride } = params;
  record.dispatch(
    ratesShader,
    { workgroup: WORKGROUP },
    { gates, dgates, dx, drate: grads.rate, dbias: grads.bias },
    { rows: x.shape[0], heads, stride, at: at + heads },
    heads,
  );
}

function prepare(x: Tensor, at: number, { rate, bias }: DeltaRates) {
  const [heads] = rate.shape;
  sameShape("take gates", bias, [heads]);
  const [rows, stride] = x.shape;
  if (at + 2 * heads > stride) {
    throw new ShapeError(`Cannot take gates of ${heads} heads from column ${at} of x [${x.shape}]: it has too few`);
  }
  return {
    variant: { rate: stored(rate), bias: stored(bias), workgroup: WORKGROUP },
    params: { count: rows * heads, heads, stride, at },
  };
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/** One head of one token in float64: g and beta, and with gradients of them those of a, b, A_log and dt_bias. */
export function deltaGatesReference(a: number, b: number, rate: number, bias: number, dg = 0, dbeta = 0) {
  const x = a + bias;
  const g = -Math.exp(rate) * (Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))));
  const beta = sigmoid(b);
  const da = -dg * Math.exp(rate) * sigmoid(x);
  return { g, beta, da, db: dbeta * beta * (1 - beta), drate: dg * g, dbias: da };
}
