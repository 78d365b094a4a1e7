import { GRPO_LOSS_OPTIONS, GRPO_LOSSES, grpoLossTypes, termOf } from "../../../shaders/loss/grpo-losses.ts";
import { RecipeError, ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { type Tensor, view } from "../../gpu/tensor.ts";
import { entropyMask } from "../../kernels/loss/entropy-mask.ts";
import {
  type GrpoRows,
  grpoLoss,
  grpoStats,
  needsSequences,
  type RowLossOptions,
} from "../../kernels/loss/grpo-loss.ts";
import { sequenceTerms } from "../../kernels/loss/sequence-terms.ts";
import type { ForwardOptions, Transformer } from "../../model/transformer.ts";
import { show } from "../../text/show.ts";
import { type GrpoSequence, type PackedSequences, packSequences, perTarget } from "./sequences.ts";

/** Settings of GRPO's loss, under TRL's names. */
export interface GrpoLossOptions extends RowLossOptions {
  /** sampling temperature: divides logits before the log-probs */
  temperature: number;
  /** divisor of dr_grpo */
  max_completion_length: number;
  /**
   * A divisor, of dapo, cispo and vespo: tokens that count in the generation batch, times
   * gradient_accumulation_steps / steps_per_generation, which makes it those of one optimizer step on average.
   */
  num_items_in_batch: number;
  /** micro-batches of one optimizer step: divisor of the other losses */
  gradient_accumulation_steps?: number;
  /** share of the tokens that count, those of highest entropy; 1: all do */
  top_entropy_quantile: number;
  /** weight of the mean entropy, which is taken off the loss; null: no such bonus, and nothing logged of it */
  entropy_coef: number | null;
  /** u32 of the dropout masks; null or absent: no dropout */
  dropoutSeed?: number | null;
}

/** The results of a micro-batch, once the GPU has run it. */
export interface GrpoResult {
  /** the micro-batch's share of the step's loss: the shares add up */
  loss: number;
  /** kl (unless beta is 0), entropy, and the statistics of the loss's token term; a step logs their means */
  metrics: Record<string, number>;
  /** the sum of the entropies of the tokens that count, and the number of these */
  counted: { entropy: number; tokens: number };
}

/**
 * Records forward and backward of GRPO's loss over one micro-batch; gradients are added to the model's store. Submits
 * no commands and does not wait.
 *
 * What depends on all of a sequence or of the micro-batch before any gradient (ratios by sequence, masks by entropy or by how
 * far the policy has moved) costs a second forward pass, and no read-back. On-policy (`old_logps` null) every ratio is 1.
 *
 * @throws {DataError} inconsistent sequences
 * @throws {ShapeError} β without reference log-probs
 * @throws {RecipeError} an invalid temperature, bound or divisor
 * @see shaders/loss/grpo-losses.ts; src/kernels/loss/grpo-loss.ts; TRL's GRPOTrainer
 */
export function grpoObjective(
  record: Recorder,
  model: Transformer,
  sequences: readonly GrpoSequence[],
  options: GrpoLossOptions,
): Promise<GrpoResult> {
  check(options);
  const packed = packSequences(sequences);
  const n = packed.targets.rows.length;
  const old = perTarget(sequences, packed, "old_logps");
  const ref = options.beta === 0 ? null : perTarget(sequences, packed, "ref_logps");
  if (options.beta !== 0 && !ref) {
    throw new ShapeError(`Cannot compute GRPO's loss with beta ${options.beta}: the sequences have no ref_logps`);
  }
  if (n === 0) {
    const none = new Float32Array(0);
    return Promise.resolve(summary({ stats: none, entropy: none, counted: null }, packed.starts, options));
  }
  const forward = forwardOptions(options);
  const pending = record.scope(() => {
    const { rows, slope } = rowsOf(record, model, packed, options, {
      advantages: sequences.map(({ advantage }) => advantage),
      old,
      ref,
    });
    const stats = grpoStats(record, n);
    const { entropy } = model.run(record, packed.batch, packed.targets, forward, (r, { logp }, start, count) => ({
      objective: grpoLoss(r, logp, rows, stats, start, options),
      entropy: slope && part(r, slope, start, count),
    }))!;
    return {
      stats: record.read(stats),
      entropy: record.read(entropy),
      counted: rows.counted && record.read(rows.counted),
    };
  });
  return (async () => {
    const read = async (data: Promise<ArrayBuffer>) => new Float32Array(await data);
    const stats = await read(pending.stats);
    const entropy = await read(pending.entropy);
    const counted = pending.counted && (await read(pending.counted));
    return summary({ stats, entropy, counted }, packed.starts, options);
  })();
}

/** Rows of a chunk by themselves: it rarely starts where a binding may. */
function part(record: Recorder, of: Tensor, start: number, count: number): Tensor {
  const copy = record.empty([count], "f32", `${of.label}.chunk`);
  record.copy(view(of, [count], start), copy);
  return copy;
}

/** What is known of each row before any has a gradient, and its slope by its entropy (null: the loss has none). */
function rowsOf(
  record: Recorder,
  model: Transformer,
  packed: PackedSequences,
  options: GrpoLossOptions,
  known: { advantages: readonly number[]; old: Float32Array | null; ref: Float32Array | null },
): { rows: GrpoRows; slope: Tensor | null } {
  const { starts, batch, targets } = packed;
  const n = targets.rows.length;
  const kinds = { old: known.old !== null, kl: known.ref !== null };
  const rows = record.upload(packedRows(starts, options, known), [n, 4], "grpo.rows");
  const masked = options.top_entropy_quantile < 1;
  const reads = needsSequences(options, { old: kinds.old, counted: masked });
  const { gradient_accumulation_steps = 1, entropy_coef } = options;
  const factor = -(entropy_coef ?? 0) / gradient_accumulation_steps;
  const none = { old: kinds.old, rows, counted: null, sequences: null };
  if (!masked && !reads) {
    const slope = factor === 0 ? null : record.upload(new Float32Array(n).fill(factor / n), [n], "d.entropy");
    return { rows: none, slope };
  }
  return record.scope(() => {
    const { logp, entropy } = model.run(record, batch, targets, forwardOptions(options), null)!;
    const mask = masked
      ? entropyMask(record, entropy, { top_entropy_quantile: options.top_entropy_quantile, factor })
      : null;
    const counted = mask?.counted ?? null;
    const at = record.upload(Uint32Array.from(starts), [starts.length], "starts");
    const sequences = reads ? sequenceTerms(record, { logp, rows, counted }, at, kinds) : null;
    const whole = mask?.slope ?? record.upload(new Float32Array(n).fill(factor / n), [n], "d.entropy");
    return { rows: { ...none, counted, sequences }, slope: factor === 0 ? null : whole };
  });
}

/** Advantage, weight, log-prob when generated and log-prob of the reference of each target: f32 `[targets, 4]`. */
function packedRows(
  starts: readonly number[],
  options: GrpoLossOptions,
  { advantages, old, ref }: { advantages: readonly number[]; old: Float32Array | null; ref: Float32Array | null },
): Float32Array {
  const out = new Float32Array(4 * starts[starts.length - 1]);
  advantages.forEach((advantage, s) => {
    const weight = weightOf(starts, s, options);
    for (let i = starts[s]; i < starts[s + 1]; i++) out.set([advantage, weight, old?.[i] ?? 0, ref?.[i] ?? 0], 4 * i);
  });
  return out;
}

/** Log-probs and entropies of completion tokens, one Float32Array per sequence. */
interface TokenLogps {
  logps: Float32Array[];
  entropies: Float32Array[];
}

/**
 * Records a forward pass for the log-probs of all completion tokens, masked or not: the values for `old_logps` or, with
 * a model without its adapter, for `ref_logps`. Submits no commands.
 *
 * @throws {DataError} an empty prompt
 */
export function tokenLogps(
  record: Recorder,
  model: Transformer,
  sequences: readonly Pick<GrpoSequence, "prompt_ids" | "completion_ids" | "images">[],
  { temperature }: { temperature: number },
): Promise<TokenLogps> {
  const plain = sequences.map(({ prompt_ids, completion_ids, images }) => ({ prompt_ids, completion_ids, images }));
  const { batch, targets, starts } = packSequences(plain);
  const forward = forwardOptions({ temperature });
  const pending = record.scope(() => {
    const rows = model.run(record, batch, targets, forward, null);
    return rows && { logp: record.read(rows.logp), entropy: record.read(rows.entropy) };
  });
  const cut = (data: ArrayBuffer) => plain.map((_, s) => new Float32Array(data).slice(starts[s], starts[s + 1]));
  return (async () => ({
    logps: cut(pending ? await pending.logp : new ArrayBuffer(0)),
    entropies: cut(pending ? await pending.entropy : new ArrayBuffer(0)),
  }))();
}

function forwardOptions({
  temperature,
  dropoutSeed,
}: Pick<GrpoLossOptions, "temperature" | "dropoutSeed">): ForwardOptions {
  if (!(temperature > 0 && Number.isFinite(temperature))) {
    throw new RecipeError(`Cannot divide logits by temperature ${temperature}: it must be above 0`);
  }
  return { inverseTemperature: 1 / temperature, dropoutSeed };
}

function check(options: GrpoLossOptions): void {
  const { loss_type, beta, entropy_coef, top_entropy_quantile } = options;
  if (!Object.hasOwn(GRPO_LOSSES, loss_type)) {
    throw new RecipeError(`Cannot use loss_type ${show(loss_type)}: it must be one of ${grpoLossTypes.join(", ")}`);
  }
  const given = GRPO_LOSS_OPTIONS.map(({ name }) => [name, options[name] ?? 0] as const);
  const { off_policy_mask_threshold: threshold } = options;
  for (const [name, value] of [...given, ["beta", beta], ["off_policy_mask_threshold", threshold ?? 0]] as const) {
    if (!(value >= 0 && Number.isFinite(value))) throw new RecipeError(`Cannot use ${name} ${value}: at least 0`);
  }
  if (!(top_entropy_quantile >= 0 && top_entropy_quantile <= 1)) {
    throw new RecipeError(`Cannot use top_entropy_quantile ${top_entropy_quantile}: from 0 to 1`);
  }
  if (!Number.isFinite(entropy_coef ?? 0)) throw new RecipeError(`Cannot use entropy_coef ${entropy_coef}`);
  const { needs } = GRPO_LOSSES[loss_type].divisor;
  if (needs && !(options[needs] >= 0 && Number.isFinite(options[needs]))) {
    throw new RecipeError(
      `Cannot use loss_type ${loss_type} with ${needs} ${options[needs]}: the loss is divided by ${needs}`,
    );
  }
}

/** What is left to divide by where the sums of a loss span one micro-batch of an optimizer step. */
const share = ({ loss_type, gradient_accumulation_steps = 1 }: GrpoLossOptions) =>
  GRPO_LOSSES[loss_type].divisor.spans === "step" ? 1 : gradient_accumulation_steps;

/** What the loss of each token of a sequence is multiplied by, so that the loss is a plain sum. */
function weightOf(starts: readonly number[], s: number, options: GrpoLossOptions): number {
  const { loss_type, max_completion_length, num_items_in_batch } = options;
  const sequences = starts.length - 1;
  const own = starts[s + 1] - starts[s];
  const batch = { own, sequences, tokens: starts[sequences], max_completion_length, num_items_in_batch };
  return 1 / (GRPO_LOSSES[loss_type].divisor.of(batch) * share(options));
}

/** What came back of a micro-batch, a value or four a target. */
interface RowResults {
  stats: Float32Array;
  entropy: Float32Array;
  /** null: all count */
  counted: Float32Array | null;
}

/**
 * Loss and metrics of a micro-batch from its rows' results.
 *
 * As in TRL: means are over tokens, except that statistics of sequence-level ratios, minima and maxima are over
 * sequences.
 */
function summary(
  { stats, entropy, counted }: RowResults,
  starts: readonly number[],
  options: GrpoLossOptions,
): GrpoResult {
  const { loss_type, beta, importance_sampling_level, entropy_coef, gradient_accumulation_steps = 1 } = options;
  const n = entropy.length;
  const column = (c: number) => Float64Array.from({ length: n }, (_, i) => stats[4 * i + c]);
  const mean = (values: ArrayLike<number>) => {
    let sum = 0;
    for (let i = 0; i < values.length; i++) sum += values[i];
    return sum / Math.max(1, values.length);
  };
  const [low, high] = [column(2), column(3)];
  const lengths = starts.slice(1).map((end, s) => end - starts[s]);
  // a fully masked sequence has ratio 1
  const first = (values: Float64Array, empty = 0) =>
    lengths.map((length, s) => (length > 0 ? values[starts[s]] : empty));
  const own = (values: Float64Array) =>
    lengths.flatMap((length, s) => (length > 0 ? [mean(values.subarray(starts[s], starts[s] + length))] : []));
  const bySequence = importance_sampling_level === "sequence";
  const each = bySequence ? first : own;
  const over = {
    all: (values: Float64Array) => mean(bySequence ? first(values) : values),
    sequences: (values: Float64Array, empty = 0) => mean(first(values, empty)),
    least: (values: Float64Array) =>
      each(values).reduce((a, b) => Math.min(a, b), n > 0 ? Number.POSITIVE_INFINITY : 0),
    greatest: (values: Float64Array) => each(values).reduce((a, b) => Math.max(a, b), 0),
  };
  const metrics: Record<string, number> = {};
  const policyLoss = mean(column(0)) * n;
  const kept = { entropy: 0, tokens: 0 };
  for (let i = 0; i < n; i++) {
    const m = counted?.[i] ?? 1;
    kept.entropy += m * entropy[i];
    kept.tokens += m;
  }
  if (entropy_coef !== null) metrics.policy_loss = policyLoss * share(options);
  if (beta !== 0) metrics.kl = mean(column(1));
  metrics.entropy = mean(entropy);
  for (const { name, of, over: range, empty } of termOf(loss_type).statistics) {
    const values = low.map((value, i) => of(value, high[i]));
    metrics[name] = over[range](values, empty);
  }
  const bonus = ((entropy_coef ?? 0) * kept.entropy) / Math.max(1, kept.tokens) / gradient_accumulation_steps;
  return { loss: policyLoss - bonus, metrics, counted: kept };
}
