import { parseProcessor, smartResize } from "../data/images/processor.ts";
import type { RowImage } from "../data/row-error.ts";
import { type FakeLimits, fakeGpu } from "../gpu/fake-device.ts";
import type { PublishedShape } from "../model/architectures/published.ts";
import { isProjection } from "../model/architectures/tensors.ts";
import { type ModelConfig, parseModelConfig } from "../model/config.ts";
import { storedDType } from "../model/files/load.ts";
import {
  type DpoRecipe,
  type GrpoRecipe,
  generationOf,
  type Method,
  type Recipe,
  type SftRecipe,
} from "../recipe/recipe.ts";
import { changesBase } from "../recipe/rules.ts";
import { formatNumber } from "../text/numbers.ts";
import { forecastDpo, worstPairs } from "../train/forecast/dpo.ts";
import { forecastGrpo } from "../train/forecast/grpo.ts";
import type { MemoryForecast } from "../train/forecast/memory.ts";
import { forecastSft, worstBatch } from "../train/forecast/sft.ts";
import { batchesOf } from "../train/grpo/grpo.ts";
import type { MicroBatch } from "../train/sft/batches.ts";
import { loraOf, storageOf } from "./open.ts";

/** No adapter's limits: the forecast is the buffers' sum, whatever their sizes. */
const NO_LIMITS: FakeLimits = { maxBufferSize: 2 ** 50, maxStorageBufferBindingSize: 2 ** 50 };

/** What a forecast assumes in place of weights and rows. */
export interface Assumptions {
  /** the fields of config.json that determine shapes; weights are assumed to be bf16 */
  shape: PublishedShape;
  /** tokens of the longest row, or in GRPO of the longest prompt */
  longest: number;
  /** pixels of an image in each row of SFT; the shape must then have a vision tower */
  image?: readonly [width: number, height: number] | null;
  limits?: FakeLimits;
}

/**
 * Forecasts a run's memory from only its recipe and its model's shape. It assumes that every row is as long as the longest, and
 * that every completion has max_completion_length tokens.
 *
 * @throws {GpuError} if a buffer exceeds the limits
 */
export function forecastOf<M extends Method>(
  recipe: Recipe<M>,
  method: M,
  { shape, longest, image = null, limits = NO_LIMITS }: Assumptions,
): Promise<MemoryForecast> | MemoryForecast {
  const both = recipe as SftRecipe | GrpoRecipe;
  const { dtype, quantization } = storageOf(both);
  const adapter = { limits, activations: both.bf16 ? ("bf16" as const) : ("f32" as const) };
  const device = fakeGpu(adapter);
  const config = parseModelConfig({ ...shape }, both.model_name_or_path ?? "config.json");
  const input = {
    config,
    trained: both.use_peft ? { lora: loraOf(config, both) } : ("all" as const),
    dtypeOf: (name: string) =>
      quantization && isProjection(config, name) ? quantization.type : storedDType(device, "BF16", dtype),
    optimizer: both,
    gradient_checkpointing: both.gradient_checkpointing,
    adapter,
  };
  if (method === "grpo") {
    const grpo = recipe as GrpoRecipe;
    const prompt = { prompt: "", text: "", prompt_ids: new Array<number>(longest).fill(0), columns: {} };
    const train = Array.from({ length: generationOf(grpo).prompts }, () => prompt);
    return forecastGrpo({
      ...input,
      recipe: grpo,
      batches: batchesOf(grpo, { train }),
      data: { train },
      continued: grpo.adapter_name_or_path !== null || changesBase(grpo),
    });
  }
  if (method === "dpo") {
    const dpo = recipe as DpoRecipe;
    const pairs = (size: number) => worstPairs(size, Math.min(longest, dpo.max_length ?? longest));
    return forecastDpo({
      ...input,
      recipe: dpo,
      steps: [[pairs(dpo.per_device_train_batch_size)]],
      evaluation: dpo.eval_strategy === "no" ? null : pairs(dpo.per_device_eval_batch_size),
      continued: dpo.adapter_name_or_path !== null || changesBase(dpo),
    });
  }
  const sft = recipe as SftRecipe;
  const length = Math.min(longest, sft.max_length ?? longest);
  const seen = image && imageOf(config, image);
  const batches = (size: number) => worstBatch(size, length).map((one) => (seen ? withImages(one, config, seen) : one));
  return forecastSft({
    ...input,
    steps: [batches(sft.per_device_train_batch_size)],
    evaluation: sft.eval_strategy === "no" ? null : batches(sft.per_device_eval_batch_size)[0],
    vision: seen && { grid: seen.grid },
  });
}

/** An image of this many pixels after the default processor. */
function imageOf({ vision }: ModelConfig, [width, height]: readonly [number, number]): RowImage {
  const { patch_size, temporal_patch_size, spatial_merge_size: merge_size } = vision!;
  const processor = parseProcessor(null, { patch_size, temporal_patch_size, merge_size });
  const resized = smartResize({ width, height }, processor);
  const grid = [1, resized.height / patch_size, resized.width / patch_size] as const;
  return { key: "", grid, tokens: (grid[1] * grid[2]) / merge_size ** 2 };
}

/** The same batch with an image at the start of each sequence, whose tokens have no label. */
function withImages({ batch, targets }: MicroBatch, { vision }: ModelConfig, image: RowImage): MicroBatch {
  const input_ids = Int32Array.from(batch.input_ids);
  const starts = Array.from(batch.cu_seqlens).slice(0, -1);
  for (const start of starts) input_ids.fill(vision!.image_token_id, start + 1, start + 1 + image.tokens);
  const rows = targets.rows.filter((row) => input_ids[row + 1] !== vision!.image_token_id);
  return {
    batch: { ...batch, input_ids, row_images: starts.map(() => image) },
    targets: { rows, tokens: new Uint32Array(rows.length) },
  };
}

/** Tokens of the largest pass, for display: `4 × 1,024 tokens`, `6 × (512 + 3,584) tokens`. */
export function passText<M extends Method>(recipe: Recipe<M>, method: M, longest: number): string {
  const { per_device_train_batch_size: batch } = recipe as SftRecipe;
  if (method === "grpo")
    return `${batch} × (${formatNumber(longest)} + ${formatNumber((recipe as GrpoRecipe).max_completion_length)}) tokens`;
  const each = method === "dpo" ? "2 × " : "";
  return `${batch} × ${each}${formatNumber(Math.min(longest, (recipe as SftRecipe).max_length ?? longest))} tokens`;
}
