import {
  GRPO_LOSS_OPTIONS,
  GRPO_LOSSES,
  type GrpoLossType,
  grpoLossTypes,
  type LossSettings,
  termOf,
} from "../../../shaders/loss/grpo-losses.ts";
import { RecipeError, ShapeError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { type GrpoRows, grpoLoss, grpoStats, sequenceLogRatio } from "../../kernels/loss/grpo-loss.ts";
import type { ForwardOptions, Transformer } from "../../model/transformer.ts";
import { show } from "../../text/show.ts";
import { type GrpoSequence, type PackedSequences, packSequences, perTarget } from "./sequences.ts";

/** Settings of GRPO's loss, under TRL's names. */
export interface GrpoLossOptions extends LossSettings {
  loss_type: GrpoLossType;
  /** the level of the importance ratio: token or sequence */
  importance_sampling_level: "token" | "sequence";
  /** weight of the KL penalty against the reference model; 0 for none */
  beta: number;
  /** sampling temperature: divides logits before the log-probs */
  temperature: number;
  /** divisor of dr_grpo */
  max_completion_length: number;
  /**
   * Divisor of dapo and cispo: the unmasked tokens of the generation batch, times
   * gradient_accumulation_steps / steps_per_generation: the average per optimizer step.
   */
  num_items_in_batch: number;
  /** micro-batches of one optimizer step: divisor of the other losses */
  gradient_accumulation_steps?: number;
  /** u32 of the dropout masks; null or absent: no dropout */
  dropoutSeed?: number | null;
}

/** The results of a micro-batch, once the GPU has run it. */
export interface GrpoResult {
  /** the micro-batch's share of the step's loss: the shares add up */
  loss: number;
  /** kl (unless beta is 0), entropy, and the statistics of the loss's token term; a step logs their means */
  metrics: Record<string, number>;
}

/**
 * Records forward and backward of GRPO's loss over one micro-batch; gradients are added to the model's store. Submits
 * no commands and does not wait.
 *
 * Sequence-level ratios of stored log-probs need the whole sequence before any gradient: they cost a second forward
 * pass but no read-back. On-policy (`old_logps` null), every ratio is 1 and one pass is enough.
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
  if (n === 0) return Promise.resolve(summary(new Float32Array(0), new Float32Array(0), packed.starts, options));
  const forward = forwardOptions(options);
  const pending = record.scope(() => {
    const up = (data: Float32Array, label: string) => record.upload(data, [n], label);
    const oldLogp = old && up(old, "old_logp");
    const bySequence = oldLogp !== null && options.importance_sampling_level === "sequence";
    const rows: GrpoRows = {
      advantage: up(
        spread(packed, (s) => sequences[s].advantage),
        "advantage",
      ),
      weight: up(weights(packed.starts, options), "weight"),
      old_logp: bySequence ? null : oldLogp,
      log_ratio: null,
      ref_logp: ref && up(ref, "ref_logp"),
    };
    if (bySequence) {
      rows.log_ratio = record.scope(() => {
        const { logp } = model.run(record, packed.batch, packed.targets, forward, null)!;
        const starts = record.upload(Uint32Array.from(packed.starts), [packed.starts.length], "starts");
        return sequenceLogRatio(record, logp, oldLogp, starts);
      });
    }
    const stats = grpoStats(record, n);
    const { entropy } = model.run(record, packed.batch, packed.targets, forward, (r, { logp }, start) =>
      grpoLoss(r, logp, rows, stats, start, options),
    )!;
    return { stats: record.read(stats), entropy: record.read(entropy) };
  });
  return (async () =>
    summary(new Float32Array(await pending.stats), new Float32Array(await pending.entropy), packed.starts, options))();
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
  sequences: readonly Pick<GrpoSequence, "prompt_ids" | "completion_ids">[],
  { temperature }: { temperature: number },
): Promise<TokenLogps> {
  const plain = sequences.map(({ prompt_ids, completion_ids }) => ({ prompt_ids, completion_ids }));
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
  const { loss_type, beta } = options;
  if (!Object.hasOwn(GRPO_LOSSES, loss_type)) {
    throw new RecipeError(`Cannot use loss_type ${show(loss_type)}: it must be one of ${grpoLossTypes.join(", ")}`);
  }
  const given = GRPO_LOSS_OPTIONS.map(({ name }) => [name, options[name] ?? 0] as const);
  for (const [name, value] of [...given, ["beta", beta] as const]) {
    if (!(value >= 0 && Number.isFinite(value))) throw new RecipeError(`Cannot use ${name} ${value}: at least 0`);
  }
  const { needs } = GRPO_LOSSES[loss_type].divisor;
  if (needs && !(options[needs] >= 0 && Number.isFinite(options[needs]))) {
    throw new RecipeError(
      `Cannot use loss_type ${loss_type} with ${needs} ${options[needs]}: the loss is divided by ${needs}`,
    );
  }
}

/** Copies each sequence's number to all of its targets. */
function spread({ starts, positions }: PackedSequences, of: (sequence: number) => number): Float32Array {
  const out = new Float32Array(positions.length);
  for (let s = 0; s + 1 < starts.length; s++) out.fill(of(s), starts[s], starts[s + 1]);
  return out;
}

/** The weight of each token's loss, so that the loss is a plain sum. */
function weights(starts: readonly number[], options: GrpoLossOptions): Float32Array {
  const { loss_type, max_completion_length, num_items_in_batch, gradient_accumulation_steps = 1 } = options;
  const sequences = starts.length - 1;
  const tokens = starts[sequences];
  const batch = { sequences, tokens, max_completion_length, num_items_in_batch, gradient_accumulation_steps };
  const { divisor } = GRPO_LOSSES[loss_type];
  const out = new Float32Array(tokens);
  for (let s = 0; s < sequences; s++) {
    const own = starts[s + 1] - starts[s];
    out.fill(1 / divisor.of({ ...batch, own }), starts[s], starts[s + 1]);
  }
  return out;
}

/**
 * Loss and metrics of a micro-batch from its rows' statistics.
 *
 * As in TRL: means are over tokens, except that statistics of sequence-level ratios, minima and maxima are over
 * sequences.
 */
function summary(
  stats: Float32Array,
  entropy: Float32Array,
  starts: readonly number[],
  { loss_type, beta, importance_sampling_level }: GrpoLossOptions,
): GrpoResult {
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
  const first = (values: Float64Array) => lengths.map((length, s) => (length > 0 ? values[starts[s]] : 0));
  const own = (values: Float64Array) =>
    lengths.flatMap((length, s) => (length > 0 ? [mean(values.subarray(starts[s], starts[s] + length))] : []));
  const bySequence = importance_sampling_level === "sequence";
  const each = bySequence ? first : own;
  const over = {
    all: (values: Float64Array) => mean(bySequence ? first(values) : values),
    least: (values: Float64Array) =>
      each(values).reduce((a, b) => Math.min(a, b), n > 0 ? Number.POSITIVE_INFINITY : 0),
    greatest: (values: Float64Array) => each(values).reduce((a, b) => Math.max(a, b), 0),
  };
  const metrics: Record<string, number> = {};
  if (beta !== 0) metrics.kl = mean(column(1));
  metrics.entropy = mean(entropy);
  for (const statistic of termOf(loss_type).statistics) {
    metrics[statistic.name] = over[statistic.over](low.map((value, i) => statistic.of(value, high[i])));
  }
  return { loss: mean(column(0)) * n, metrics };
}
