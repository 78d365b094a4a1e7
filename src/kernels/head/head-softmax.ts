import {
  headFinish as finishShader,
  headGradient as gradientShader,
  HEAD_STATE,
  headStatistics as statisticsShader,
} from "../../../shaders/head/head-softmax.wgsl.ts";
import { ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { lanes, rowGrid, sameShape, threadGrid, WORKGROUP } from "../grid.ts";

const THREADS = 256;
/** Ids are stored as f32, which is exact for integers up to this. */
const MOST_IDS = 2 ** 24;

/** How logits are stored. @throws {ShapeError} bf16 whose rows are not whole words of four */
function storedLogits({ dtype, shape }: Tensor): "f32" | "bf16" {
  if (dtype !== "bf16") return "f32";
  if (shape[1] % 4 === 0) return "bf16";
  throw new ShapeError(`Cannot read logits [${shape}] in bf16: rows must be multiples of 4`);
}

/** A shard's place in the vocabulary, and the factor of logits before the softmax. */
interface HeadShard {
  /** index of the shard's first row in the whole vocabulary */
  start: number;
  /** 1 / temperature */
  inverseTemperature: number;
}

/** Size of the vocabulary and label smoothing ε, `label_smoothing_factor`. */
interface HeadSmoothing {
  vocab: number;
  labelSmoothing: number;
}

/** Statistics of each row and its target, f32 `[rows]` each. */
interface HeadResult {
  /** log-prob of the target, nats */
  logp: Tensor;
  /** `(1−ε)·logp + ε/V·Σ_j logp_j`: minus the smoothed cross-entropy; equals logp if ε is 0 */
  objective: Tensor;
  /** entropy of the row's distribution, nats */
  entropy: Tensor;
  /** log-sum-exp of z, which `headGradient` reads */
  lse: Tensor;
  /** 1 if the target is the most likely token (the first of equals), else 0 */
  correct: Tensor;
  /** mean of z over the vocabulary */
  mean: Tensor;
}

/** The running state of `rows` rows, f32 `[rows, 8]`; undefined until `headStatistics` is called with `first`. */
export function headState(record: Recorder, rows: number): Tensor {
  return record.empty([rows, HEAD_STATE], "f32", "head.state", "scratch");
}

/**
 * Merges one shard's logits into the running state of each row, for log-probs, entropy and accuracy.
 *
 * All statistics are of `z = logits · inverseTemperature`. Records one dispatch and submits nothing.
 *
 * @param logits f32 or bf16 `[rows, n]`: columns are rows `start … start + n − 1` of the vocabulary; in bf16 a multiple of 4
 * @param targets u32 `[rows]`, ids of the whole vocabulary
 * @param state from `headState`; overwritten if `first`
 * @throws {ShapeError} lengths that differ; ids above 2²⁴
 * @see shaders/head/head-softmax.wgsl.ts, headReference, arXiv:1805.02867
 */
export function headStatistics(
  record: Recorder,
  logits: Tensor,
  targets: Tensor,
  state: Tensor,
  { start, inverseTemperature, first }: HeadShard & { first: boolean },
): void {
  const [rows, cols] = logits.shape;
  sameShape("compute head statistics", targets, [rows]);
  sameShape("compute head statistics", state, [rows, HEAD_STATE]);
  if (start + cols > MOST_IDS) {
    throw new ShapeError(
      `Cannot compute head statistics of ids up to ${start + cols}: at most ${MOST_IDS} are supported`,
    );
  }
  const { vector, count: steps } = lanes(cols);
  record.dispatch(
    statisticsShader,
    { logits: storedLogits(logits), vector, workgroup: cols >= 1024 ? THREADS : WORKGROUP },
    { logits, targets, state },
    { rows, cols, steps, start, first: first ? 1 : 0, inverseTemperature },
    rows,
  );
}

/** The statistics from a state into which every shard was merged. Records one dispatch and submits nothing. */
export function headFinish(record: Recorder, state: Tensor, { vocab, labelSmoothing }: HeadSmoothing): HeadResult {
  const [rows] = state.shape;
  sameShape("finish the head", state, [rows, HEAD_STATE]);
  const make = (label: string) => record.empty([rows], "f32", `head.${label}`);
  const result: HeadResult = {
    logp: make("logp"),
    objective: make("objective"),
    entropy: make("entropy"),
    lse: make("lse"),
    correct: make("correct"),
    mean: make("mean"),
  };
  const params = { rows, smoothing: labelSmoothing, inverseVocab: 1 / vocab };
  record.dispatch(finishShader, { workgroup: WORKGROUP }, { state, ...result }, params, threadGrid(rows));
  return result;
}

/** What the way back reads of `headFinish`; entropies only where the loss depends on them. */
export interface HeadDone {
  lse: Tensor;
  entropy: Tensor | null;
}

/** Gradients of the loss for what a head says of rows, f32 `[rows]` each. */
export interface HeadSlopes {
  objective: Tensor;
  /** null where the loss does not depend on entropies */
  entropy: Tensor | null;
}

/**
 * Gradient for one shard's logits, in place: `inverseTemperature · (dobjective·((1−ε)·1[j = target] + ε/V − p_j) −
 * dentropy·p_j·(ln p_j + H))`.
 *
 * @param logits f32 or bf16 `[rows, n]`, as they were for `headStatistics`; overwritten, and rounded if bf16
 * @param done of `headFinish`; near ten thousand f32 has steps of 1e-3 in its lse, and p is as rough
 * @throws {ShapeError} lengths that differ
 */
export function headGradient(
  record: Recorder,
  logits: Tensor,
  targets: Tensor,
  { lse, entropy }: HeadDone,
  slopes: HeadSlopes,
  { start, inverseTemperature, vocab, labelSmoothing }: HeadShard & HeadSmoothing,
): void {
  const [rows, cols] = logits.shape;
  const { objective: dobjective, entropy: dentropy } = slopes;
  for (const tensor of [targets, lse, entropy, dobjective, dentropy]) {
    if (tensor) sameShape("take the head's gradient", tensor, [rows]);
  }
  const { vector, count: steps } = lanes(cols);
  record.dispatch(
    gradientShader,
    { logits: storedLogits(logits), vector, entropy: dentropy !== null, workgroup: WORKGROUP },
    { logits, targets, lse, dobjective, ...(dentropy && { entropy: entropy!, dentropy }) },
    { rows, steps, start, inverseTemperature, keep: 1 - labelSmoothing, spread: labelSmoothing / vocab },
    rowGrid(record, steps, rows),
  );
}

/** The same in float64 on the CPU, for whole rows of the vocabulary. */
export function headReference(
  logits: Float64Array,
  targets: ArrayLike<number>,
  inverseTemperature: number,
  labelSmoothing: number,
): Record<keyof HeadResult, Float64Array> {
  const rows = targets.length;
  const vocab = logits.length / rows;
  const make = () => new Float64Array(rows);
  const result = { logp: make(), objective: make(), entropy: make(), lse: make(), correct: make(), mean: make() };
  for (let r = 0; r < rows; r++) {
    const z = logits.slice(r * vocab, (r + 1) * vocab).map((v) => v * inverseTemperature);
    const top = z.reduce((a, b) => Math.max(a, b));
    const logarithm = Math.log(z.reduce((sum, v) => sum + Math.exp(v - top), 0));
    const logps = z.map((v) => v - top - logarithm);
    result.logp[r] = logps[targets[r]];
    const mean = logps.reduce((a, b) => a + b) / vocab;
    result.objective[r] = (1 - labelSmoothing) * result.logp[r] + labelSmoothing * mean;
    result.entropy[r] = -logps.reduce((sum, v) => sum + Math.exp(v) * v, 0);
    result.lse[r] = top + logarithm;
    result.mean[r] = z.reduce((a, b) => a + b) / vocab;
    result.correct[r] = z.indexOf(top) === targets[r] ? 1 : 0;
  }
  return result;
}

/** Gradient of `Σ dobjective·objective + dentropy·entropy` for the logits, in float64. */
export function headGradientReference(
  logits: Float64Array,
  targets: ArrayLike<number>,
  { objective, entropy: dentropy }: { objective: ArrayLike<number>; entropy: ArrayLike<number> | null },
  inverseTemperature: number,
  labelSmoothing: number,
): Float64Array {
  const vocab = logits.length / targets.length;
  const { lse, entropy } = headReference(logits, targets, inverseTemperature, labelSmoothing);
  return logits.map((logit, i) => {
    const r = Math.floor(i / vocab);
    const own = i % vocab === targets[r] ? 1 - labelSmoothing : 0;
    const lp = logit * inverseTemperature - lse[r];
    const p = Math.exp(lp);
    const slope = objective[r] * (own + labelSmoothing / vocab - p);
    return inverseTemperature * (slope - (dentropy?.[r] ?? 0) * p * (lp + entropy[r]));
  });
}
