import { muonApply, muonMomentum, muonUnit } from "../../../shaders/optimizer/muon.wgsl.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { sizeOf, type Tensor } from "../../gpu/tensor.ts";
import { scale } from "../elementwise.ts";
import { lanes, part, ranges, sameShape, threadGrid, WORKGROUP } from "../grid.ts";
import { matmul, matmulReference } from "../matmul/matmul.ts";
import { type AdamWOptions, ALIGN } from "./adamw.ts";
import { gradNorm } from "./grad-norm.ts";

/** Settings of torch.optim.Muon, by its names. */
export interface MuonSettings {
  momentum: number;
  nesterov: boolean;
  /** iterations of Newton and Schulz */
  ns_steps: number;
  /** a, b, c of the iteration X ← aX + (b·XXᵀ + c·(XXᵀ)²)X */
  ns_coefficients: readonly [number, number, number];
  /** lower bound of the norm that the update is divided by */
  eps: number;
  /**
   * factor of learning_rate for a matrix `[A, B]`: original is √max(1, A/B) (Keller Jordan), match_rms_adamw is 0.2·√max(A, B), which
   * gives updates of AdamW's size (Moonshot)
   */
  adjust_lr_fn: "original" | "match_rms_adamw";
}

/** What Muon reads of the settings of an update. */
type MuonOptions = Pick<AdamWOptions, "learning_rate" | "weight_decay">;

/** A matrix `[A, B]` with its gradient and moment, f32, all of its shape. */
interface MuonTensors {
  param: Tensor;
  grad: Tensor;
  momentum_buffer: Tensor;
}

/**
 * One update of Muon, in place: `m ← m + (1 − μ)(g − m)`; U is m, or `g + μ(m − g)` with nesterov; O is U made nearly orthogonal by
 * `ns_steps` of Newton and Schulz' iteration; `p ← p·(1 − lr·wd) − lr·factor·O`, where g is the gradient times `norm[1]`. Where
 * `norm[0]` is not finite, parameter and moment stay as they are.
 *
 * torch rounds the iteration's matrices to bf16; here they are f32. Takes scratch of two matrices `[A, B]` and two of the
 * shorter side squared.
 *
 * @param norm f32 `[2]` of `gradNorm`
 * @throws {ShapeError} a parameter that is no matrix, or shapes that differ
 * @see shaders/optimizer/muon.wgsl.ts, muonReference, torch.optim.Muon, https://kellerjordan.github.io/posts/muon, arXiv:2502.16982
 */
export function muon(
  record: Recorder,
  tensors: MuonTensors,
  norm: Tensor,
  options: MuonOptions,
  settings: MuonSettings,
): void {
  const { param, grad, momentum_buffer } = tensors;
  if (param.shape.length !== 2)
    throw new ShapeError(`Cannot update ${param.label} [${param.shape}] by muon: it must be a matrix`);
  sameShape("update by muon", grad, param.shape);
  sameShape("update by muon", momentum_buffer, param.shape);
  sameShape("update by muon", norm, [2]);
  record.scope(() => {
    const { momentum, nesterov } = settings;
    const update = record.empty(param.shape, "f32", "muon.update", "scratch");
    const mixing = { oneMinusMomentum: 1 - momentum, mix: nesterov ? momentum : 1 };
    each(record, param, ({ at, vector, count }) => {
      const bindings = { grad: at(grad), m: at(momentum_buffer), u: at(update), norm };
      record.dispatch(
        muonMomentum,
        { vector, workgroup: WORKGROUP },
        bindings,
        { count, ...mixing },
        threadGrid(count),
      );
    });
    const size = gradNorm(record, [update], 0);
    each(record, param, ({ at, vector, count }) => {
      const params = { count, epsilon: settings.eps };
      const variant = { vector, workgroup: WORKGROUP };
      record.dispatch(muonUnit, variant, { x: at(update), size }, params, threadGrid(count));
    });
    const turned = orthogonalized(record, update, settings);
    const { learning_rate, weight_decay } = options;
    const rate = learning_rate * rateFactor(param.shape, settings);
    each(record, param, ({ at, vector, count }) => {
      const params = { count, decay: 1 - learning_rate * weight_decay, rate };
      const bindings = { param: at(param), u: at(turned), norm };
      record.dispatch(muonApply, { vector, workgroup: WORKGROUP }, bindings, params, threadGrid(count));
    });
  });
}

/** Parts of a parameter that fit a binding. */
function each(
  record: Recorder,
  param: Tensor,
  body: (of: { at: (tensor: Tensor) => Tensor; vector: boolean; count: number }) => void,
): void {
  for (const { start, count: length } of ranges(record, sizeOf(param.shape), ALIGN)) {
    body({ ...lanes(length), at: (tensor) => part(tensor, start, length) });
  }
}

/** The iteration on X of norm 1, which it may overwrite. @returns the last iterate, in one of two tensors */
function orthogonalized(record: Recorder, x: Tensor, { ns_steps, ns_coefficients: [a, b, c] }: MuonSettings): Tensor {
  const [rows, columns] = x.shape;
  const wide = rows <= columns;
  const side = Math.min(rows, columns);
  const scratch = (shape: readonly number[], label: string) => record.empty(shape, "f32", `muon.${label}`, "scratch");
  const [gram, change] = [scratch([side, side], "gram"), scratch([side, side], "change")];
  let [now, next] = [x, scratch(x.shape, "next")];
  for (let step = 0; step < ns_steps; step++) {
    // of the shorter side: X·Xᵀ, or Xᵀ·X
    matmul(record, now, now, wide ? { transB: true, into: gram } : { transA: true, into: gram });
    record.copy(gram, change);
    scale(record, change, b);
    matmul(record, gram, gram, { into: change, accumulate: true, alpha: c });
    record.copy(now, next);
    scale(record, next, a);
    const [left, right] = wide ? [change, now] : [now, change];
    matmul(record, left, right, { into: next, accumulate: true });
    [now, next] = [next, now];
  }
  return now;
}

function rateFactor([rows, columns]: readonly number[], { adjust_lr_fn }: MuonSettings): number {
  return adjust_lr_fn === "original"
    ? Math.sqrt(Math.max(1, rows / columns))
    : 0.2 * Math.sqrt(Math.max(rows, columns));
}

/** The same in float64 on the CPU, on arrays that it overwrites; `scale` multiplies the gradient. */
export function muonReference(
  { param, grad, momentum_buffer: m }: Record<keyof MuonTensors, Float64Array>,
  shape: readonly [number, number],
  scale: number,
  { learning_rate, weight_decay }: MuonOptions,
  settings: MuonSettings,
): void {
  const { momentum, nesterov, ns_steps, eps } = settings;
  const [a, b, c] = settings.ns_coefficients;
  const [rows, columns] = shape;
  let x = new Float64Array(grad.length);
  for (let i = 0; i < grad.length; i++) {
    const g = grad[i] * scale;
    m[i] += (g - m[i]) * (1 - momentum);
    x[i] = nesterov ? g + momentum * (m[i] - g) : m[i];
  }
  const size = Math.max(Math.sqrt(x.reduce((sum, value) => sum + value * value, 0)), eps);
  x = x.map((value) => value / size);
  const wide = rows <= columns;
  const side = Math.min(rows, columns);
  for (let step = 0; step < ns_steps; step++) {
    const sizes = [side, side, Math.max(rows, columns)] as const;
    const gram = matmulReference(x, x, sizes, wide ? { transB: true } : { transA: true });
    const square = matmulReference(gram, gram, [side, side, side]);
    const change = gram.map((value, i) => b * value + c * square[i]);
    const [left, right] = wide ? [change, x] : [x, change];
    const product = matmulReference(left, right, [rows, columns, side]);
    x = x.map((value, i) => a * value + product[i]);
  }
  const rate = learning_rate * rateFactor(shape, settings);
  for (let i = 0; i < param.length; i++) param[i] = param[i] * (1 - learning_rate * weight_decay) - rate * x[i];
}
