import { MemoryError } from "../../errors.ts";
import type { Gpu } from "../../gpu/device.ts";
import { type AdapterLike, fakeGpu } from "../../gpu/fake-device.ts";
import type { MemoryKind } from "../../gpu/pool.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { parameterCount } from "../../model/architectures/tensors.ts";
import { buildModel, type Trained } from "../../model/build.ts";
import type { ModelConfig } from "../../model/config.ts";
import type { WeightDType } from "../../model/slots.ts";
import type { Transformer } from "../../model/transformer.ts";
import { formatBytes } from "../../text/bytes.ts";
import { Optimizer, type OptimizerOptions } from "../optimizer.ts";

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

/** What the forecast of any method depends on beside its batches. */
export interface ForecastModel {
  config: ModelConfig;
  trained: Trained;
  dtypeOf: (name: string) => WeightDType;
  optimizer: OptimizerOptions;
  gradient_checkpointing?: boolean;
  /** that the run is for: a Gpu, or what is known of another */
  adapter: AdapterLike;
}

/** A run on a device that computes nothing, and counts. */
export interface FakeRun {
  gpu: Gpu;
  model: Transformer;
  optimizer: Optimizer;
  record: Recorder;
}

export function fakeRun(input: ForecastModel): FakeRun {
  const gpu = fakeGpu(input.adapter);
  const { model } = buildModel(gpu, input.config, input.trained, input.dtypeOf);
  model.gradient_checkpointing = input.gradient_checkpointing ?? true;
  return { gpu, model, optimizer: new Optimizer(gpu, model.store!, input.optimizer), record: gpu.recorder() };
}

/** What a fake run came to. @param tokens of the largest micro-batch */
export function forecastFrom({ gpu, model }: FakeRun, config: ModelConfig, tokens: number): MemoryForecast {
  const { peak, peakByKind } = gpu.pool.ledger;
  return { peak, byKind: peakByKind, trainable: model.store!.count, parameters: parameterCount(config), tokens };
}

/** Layers beyond the second need no kernel of their own. */
export function shallow(config: ModelConfig): ModelConfig {
  return { ...config, num_hidden_layers: Math.min(2, config.num_hidden_layers) };
}

/** An array of a pass that no binding holds, with what makes it smaller. */
export function withAdvice(error: unknown, length: "max_length" | "max_completion_length"): unknown {
  if (!(error instanceof MemoryError)) return error;
  return new MemoryError(
    `${error.message}. Fewer tokens a pass need less: a smaller per_device_train_batch_size, with more gradient_accumulation_steps for the same step, or a shorter ${length}`,
    { cause: error },
  );
}

/**
 * Refuses a run that cannot fit.
 *
 * @param available bytes that the GPU may take; null where nobody can know (WebGPU does not tell)
 * @throws {MemoryError} with the forecast, the limit, and what would fit
 */
export function checkForecast(forecast: MemoryForecast, available: number | null): void {
  if (available === null || forecast.peak <= available) return;
  const parts = Object.entries(forecast.byKind)
    .filter(([, bytes]) => bytes > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([kind, bytes]) => `${kind} ${formatBytes(bytes)}`);
  throw new MemoryError(
    `Cannot train: the forecast is ${formatBytes(forecast.peak)} (${parts.join(", ")}) and ${formatBytes(available)} are available. A shorter max_length, a smaller per_device_train_batch_size, a smaller lora_r or a smaller model would need less`,
  );
}
