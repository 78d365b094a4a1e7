import type { RowImage } from "../../data/row-error.ts";
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
import type { SeenImages } from "../../model/vision/images.ts";
import { type ImageGrid, patchCount } from "../../model/vision/places.ts";
import type { Patches, VisionTower } from "../../model/vision/tower.ts";
import { formatBytes } from "../../text/bytes.ts";
import { Optimizer, type OptimizerOptions } from "../optimizer.ts";

/** The GPU memory that a run needs, in bytes. */
export interface MemoryForecast {
  /** peak allocation */
  peak: number;
  byKind: Partial<Record<MemoryKind, number>>;
  /** number of trainable parameters */
  trainable: number;
  /** number of parameters of the whole model */
  parameters: number;
  /** tokens of the largest micro-batch */
  tokens: number;
}

/** Inputs of every method's forecast beside its batches. */
export interface ForecastModel {
  config: ModelConfig;
  trained: Trained;
  dtypeOf: (name: string) => WeightDType;
  optimizer: OptimizerOptions;
  gradient_checkpointing?: boolean;
  /** the target device: a Gpu, or the known properties of another device */
  adapter: AdapterLike;
  /** the largest image of the rows, in patches; null or absent: rows have none, and the vision tower is not loaded */
  vision?: { grid: ImageGrid } | null;
}

/** Records a run on a device that computes nothing and counts memory. */
export interface FakeRun {
  gpu: Gpu;
  model: Transformer;
  optimizer: Optimizer;
  record: Recorder;
}

export function fakeRun(input: ForecastModel): FakeRun {
  const gpu = fakeGpu(input.adapter);
  const vision = input.vision ?? null;
  const { model } = buildModel(gpu, input.config, input.trained, input.dtypeOf, vision !== null);
  model.gradient_checkpointing = input.gradient_checkpointing ?? true;
  if (vision && !model.tower!.trained) seeImage(model, vision.grid);
  return { gpu, model, optimizer: new Optimizer(gpu, model.store!, input.optimizer), record: gpu.recorder() };
}

/** Patches of images, of which only the number counts. */
export function blankPatches({ config }: VisionTower, grids: readonly ImageGrid[]): Patches {
  const { in_channels, temporal_patch_size, patch_size } = config;
  const each = in_channels * temporal_patch_size * patch_size ** 2;
  return { pixels: new Float32Array(patchCount(grids) * each), grids };
}

/** What a model with a frozen tower sees of a row's images, of which only the number counts; null: the row has none. */
export function blankImages(
  { config }: Transformer,
  { row_images: images }: { row_images?: readonly RowImage[] },
): SeenImages | null {
  if (!images) return null;
  const tokens = images.reduce((n, image) => n + image.tokens, 0);
  return { features: new Float32Array(tokens * config.hidden_size), grids: images.map(({ grid }) => grid) };
}

/** Features of an image, as a run with a frozen tower computes them before the step that needs them. */
function seeImage({ gpu, tower }: Transformer, grid: ImageGrid): void {
  const record = gpu.recorder();
  record.scope(() => {
    record.read(tower!.forward(record, blankPatches(tower!, [grid])).features);
  });
  record.submit();
}

/** The result of a fake run. @param tokens of the largest micro-batch */
export function forecastFrom({ gpu, model }: FakeRun, config: ModelConfig, tokens: number): MemoryForecast {
  const { peak, peakByKind } = gpu.pool.ledger;
  return { peak, byKind: peakByKind, trainable: model.store!.count, parameters: parameterCount(config), tokens };
}

/** Layers beyond the second, and beyond the first of each type, need no kernel of their own. */
export function shallow(config: ModelConfig): ModelConfig {
  const firsts = [...new Set(config.layer_types)].map((type) => config.layer_types!.indexOf(type) + 1);
  return { ...config, num_hidden_layers: Math.min(Math.max(2, ...firsts), config.num_hidden_layers) };
}

/** The error for an array that exceeds a binding, with advice on making it smaller. */
export function withAdvice(error: unknown, length: "max_length" | "max_completion_length"): unknown {
  if (!(error instanceof MemoryError)) return error;
  return new MemoryError(
    `${error.message}. Use fewer tokens per pass: a smaller per_device_train_batch_size (with more gradient_accumulation_steps, the step stays the same) or a shorter ${length}`,
    { cause: error },
  );
}

/**
 * Refuses a run that does not fit.
 *
 * @param available bytes that the GPU may use; null if unknown (WebGPU does not report free memory)
 * @throws {MemoryError} with the forecast, the limit, and advice
 */
export function checkForecast(forecast: MemoryForecast, available: number | null): void {
  if (available === null || forecast.peak <= available) return;
  const parts = Object.entries(forecast.byKind)
    .filter(([, bytes]) => bytes > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([kind, bytes]) => `${kind} ${formatBytes(bytes)}`);
  throw new MemoryError(
    `Cannot train: the forecast is ${formatBytes(forecast.peak)} (${parts.join(", ")}), but ${formatBytes(available)} are available. Use a shorter max_length, a smaller per_device_train_batch_size, a smaller lora_r or a smaller model`,
  );
}
