import { MemoryError } from "../../errors.ts";
import { type AdapterLike, fakeGpu } from "../../gpu/fake-device.ts";
import type { MemoryKind } from "../../gpu/pool.ts";
import type { Kernel } from "../../gpu/program.ts";
import { parameterCount } from "../../model/architectures/tensors.ts";
import { buildModel, type Trained } from "../../model/build.ts";
import type { ModelConfig } from "../../model/config.ts";
import type { WeightDType } from "../../model/slots.ts";
import { Optimizer, type OptimizerOptions } from "../optimizer.ts";
import type { MicroBatch } from "../sft/batches.ts";
import { sftStep } from "../sft/step.ts";

/** What a run will need of the GPU, in bytes. */
export interface MemoryForecast {
  /** the most that is allocated at a time */
  peak: number;
  byKind: Partial<Record<MemoryKind, number>>;
  /** numbers that are trained */
  trainable: number;
  /** numbers of the whole model */
  parameters: number;
  /** tokens of the largest micro-batch */
  tokens: number;
}

export interface ForecastInput {
  config: ModelConfig;
  trained: Trained;
  dtypeOf: (name: string) => WeightDType;
  /** steps that will be taken, the largest among them: buffers of one that do not fit the next stay with the pool */
  steps: readonly (readonly MicroBatch[])[];
  /** the largest batch of an evaluation, or null without one */
  evaluation?: MicroBatch | null;
  optimizer: OptimizerOptions;
  gradient_checkpointing?: boolean;
  /** that the run is for: a Gpu, or what is known of another */
  adapter: AdapterLike;
}

/**
 * Forecasts a training run's memory before anything is allocated, by recording its largest step on a device that only
 * counts. Host-side buffers (tokenised rows, the driver's own staging) are not in it.
 */
export function forecastSft(input: ForecastInput): MemoryForecast {
  const { gpu, model } = recordSft(input);
  const { peak, peakByKind } = gpu.pool.ledger;
  return {
    peak,
    byKind: peakByKind,
    trainable: model.store!.count,
    parameters: parameterCount(input.config),
    tokens: Math.max(...input.steps.flat().map(({ batch }) => batch.input_ids.length)),
  };
}

/** What a training run will have compiled after its first steps. */
export function kernelsOfSft(input: ForecastInput): Kernel[] {
  return recordSft({ ...input, config: shallow(input.config) }).gpu.programs.kernels;
}

/** Layers beyond the second need no kernel of their own. */
export function shallow(config: ModelConfig): ModelConfig {
  return { ...config, num_hidden_layers: Math.min(2, config.num_hidden_layers) };
}

function recordSft({
  config,
  trained,
  dtypeOf,
  steps,
  evaluation,
  optimizer,
  gradient_checkpointing = true,
  adapter,
}: ForecastInput) {
  const gpu = fakeGpu(adapter);
  const { model } = buildModel(gpu, config, trained, dtypeOf);
  model.gradient_checkpointing = gradient_checkpointing;
  const state = new Optimizer(gpu, model.store!, optimizer);
  const record = gpu.recorder();
  const options = {
    step: 0,
    learning_rate: 0,
    max_grad_norm: 1,
    label_smoothing_factor: 0,
    neftune_noise_alpha: null,
    seed: 0,
  };
  try {
    for (const micro of steps) sftStep(record, model, state, micro, options).catch(() => {}); // its numbers come from nowhere
    if (evaluation) record.scope(() => model.run(record, evaluation.batch, evaluation.targets, {}, null));
  } catch (error) {
    throw withAdvice(error, "max_length");
  }
  return { gpu, model };
}

/** An array of a pass that no binding holds, with what makes it smaller. */
export function withAdvice(error: unknown, length: "max_length" | "max_completion_length"): unknown {
  if (!(error instanceof MemoryError)) return error;
  return new MemoryError(
    `${error.message}. Fewer tokens a pass need less: a smaller per_device_train_batch_size, with more gradient_accumulation_steps for the same step, or a shorter ${length}`,
    { cause: error },
  );
}

/** Micro-batches of `sequences` rows of `length` tokens, all labelled: the worst that a recipe allows. */
export function worstBatch(sequences: number, length: number): MicroBatch[] {
  const tokens = sequences * length;
  const position_ids = Int32Array.from({ length: tokens }, (_, i) => i % length);
  const cu_seqlens = Int32Array.from({ length: sequences + 1 }, (_, i) => i * length);
  const rows = Uint32Array.from({ length: tokens }, (_, i) => i).filter((i) => i % length !== length - 1);
  const batch = { input_ids: new Int32Array(tokens), position_ids, cu_seqlens, labels: new Int32Array(tokens) };
  return [{ batch, targets: { rows, tokens: new Uint32Array(rows.length) } }];
}

/**
 * Refuses a run that cannot fit.
 *
 * @param available bytes that the GPU may take; null where nobody can know (WebGPU does not tell)
 * @throws {MemoryError} with the forecast, the limit, and what would fit
 */
export function checkForecast(forecast: MemoryForecast, available: number | null): void {
  if (available === null || forecast.peak <= available) return;
  const gb = (bytes: number) => `${(bytes / 1e9).toFixed(2)} GB`;
  const parts = Object.entries(forecast.byKind)
    .filter(([, bytes]) => bytes > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([kind, bytes]) => `${kind} ${gb(bytes)}`);
  throw new MemoryError(
    `Cannot train: the forecast is ${gb(forecast.peak)} (${parts.join(", ")}) and ${gb(available)} are available. A shorter max_length, a smaller per_device_train_batch_size, a smaller lora_r or a smaller model would need less`,
  );
}
