import type { NumberedRow, RowOptions } from "./data/rows.ts";
import { type TokenizedDataset, type TokenizeOptions, tokenizeDataset } from "./data/tokenize.ts";
import { loadTokenizer, type Tokenizer } from "./data/tokenizer.ts";
import type { Gpu } from "./gpu/device.ts";
import { type Checkpoint, openCheckpoint } from "./io/checkpoint.ts";
import type { Adapter } from "./io/peft.ts";
import type { Folder } from "./io/storage.ts";
import { checkTensors, type LoraConfig, type Trained, targetModules, type WeightDType } from "./model/build.ts";
import { type ModelConfig, parseModelConfig } from "./model/config.ts";
import { fillAdapter, initAdapter, loadModel, openAdapterFor, storedDType } from "./model/load.ts";
import type { SftRecipe } from "./recipe.ts";
import { BatchPlan, type MicroBatch } from "./train/batches.ts";
import type { Trainee } from "./train/checkpoint.ts";
import { forecastSft, type MemoryForecast } from "./train/plan.ts";
import { mixSeed, uniformFrom } from "./train/seed.ts";
import type { SftData } from "./train/sft.ts";
import { evalBatches } from "./train/step.ts";

export { checkForecast, type MemoryForecast } from "./train/plan.ts";
export { type LogRecord, type SftEvent, type SftOptions, sft } from "./train/sft.ts";

/** Where a run's inputs come from. Whoever calls opens them: a disk, the hub, OPFS, memory. */
export interface SftSources {
  gpu: Gpu;
  model: Folder;
  /** a PEFT folder to go on from */
  adapter?: Folder | null;
  train: AsyncIterable<NumberedRow> | Iterable<NumberedRow>;
  eval?: AsyncIterable<NumberedRow> | Iterable<NumberedRow> | null;
  /** goes before the tokenizer's own template */
  chat_template?: string | null;
  signal?: AbortSignal;
  onProgress?: (what: string, done: number, total: number | null) => void;
}

/** A run that is ready to load: everything was read and checked but the weights. */
export interface PreparedSft {
  config: ModelConfig;
  checkpoint: Checkpoint;
  tokenizer: Tokenizer | null;
  data: SftData;
  train: TokenizedDataset;
  plan: BatchPlan;
  trained: Exclude<Trained, "none">;
  lora: LoraConfig | null;
  adapter: Adapter | null;
  forecast: MemoryForecast;
  /** how the frozen projections will be stored */
  weightDType: WeightDType;
  notes: string[];
}

/** LoRA settings of a recipe. */
export function loraOf(recipe: SftRecipe): LoraConfig {
  const { lora_r: r, lora_alpha, lora_dropout, use_rslora, lora_target_modules } = recipe;
  return { r, lora_alpha, lora_dropout, use_rslora, target_modules: targetModules(lora_target_modules) };
}

/** The tokenizer of a checkpoint folder; null where it holds none, which is enough for rows of input_ids. */
export async function openTokenizer(folder: Folder): Promise<Tokenizer | null> {
  if (!(await folder.exists("tokenizer.json"))) return null;
  const optional = async (name: string) => ((await folder.exists(name)) ? await folder.readText(name) : undefined);
  return loadTokenizer({
    tokenizerJson: await folder.readText("tokenizer.json"),
    tokenizerConfig: await optional("tokenizer_config.json"),
    chatTemplate: await optional("chat_template.jinja"),
    generationConfig: await optional("generation_config.json"),
    config: await optional("config.json"),
  });
}

/**
 * Reads and checks everything that a run needs but the weights, and forecasts its memory. Allocates nothing on the GPU.
 *
 * @throws what is wrong with the checkpoint, the adapter, the rows or the recipe, before any time is spent
 */
export async function prepareSft(recipe: SftRecipe, sources: SftSources): Promise<PreparedSft> {
  const { gpu, signal, onProgress } = sources;
  const notes: string[] = [];
  const checkpoint = await openCheckpoint(sources.model);
  const config = parseModelConfig(checkpoint.config, `${sources.model.path}/config.json`);
  checkTensors(config, checkpoint.tensors, sources.model.path);
  const opened = sources.adapter ? await openAdapterFor(config, sources.adapter) : null;
  const lora = opened?.lora ?? (recipe.use_peft ? loraOf(recipe) : null);
  const trained = lora ? { lora } : ("all" as const);

  const tokenizer = await openTokenizer(sources.model);
  const options: TokenizeOptions & RowOptions = {
    tokenizer,
    chat_template: sources.chat_template ?? null,
    eos_token: recipe.eos_token,
    max_length: recipe.packing && recipe.packing_strategy !== "bfd" ? null : recipe.max_length,
    truncation_mode: recipe.truncation_mode,
    completion_only_loss: recipe.completion_only_loss,
    assistant_only_loss: recipe.assistant_only_loss,
    dataset_text_field: recipe.dataset_text_field,
    system_prompt: recipe.system_prompt,
    vocab_size: config.vocab_size,
  };
  const report = (what: string) => (read: number) => onProgress?.(what, read, null);
  const train = await tokenizeDataset(sources.train, { ...options, signal, onProgress: report("training rows") });
  const held = sources.eval
    ? await tokenizeDataset(sources.eval, { ...options, signal, onProgress: report("evaluation rows") })
    : null;
  notes.push(...train.warnings, ...(held?.warnings ?? []).map((warning) => `evaluation: ${warning}`));

  const plan = new BatchPlan(train.rows, recipe);
  const dtypeOf = (name: string) => storedDType(gpu, checkpoint.tensors.get(name)!.dtype, recipe.dtype);
  const { maxBufferSize, maxStorageBufferBindingSize } = gpu.limits;
  const forecast = forecastSft({
    config,
    trained,
    dtypeOf,
    steps: [0, 1, 2]
      .filter((step) => step < plan.max_steps)
      .map((step) => plan.step(step))
      .concat([plan.largest()]),
    evaluation: held && largestBatch(evalBatches(held.rows, recipe.per_device_eval_batch_size)),
    optimizer: recipe,
    limits: { maxBufferSize, maxStorageBufferBindingSize },
    features: gpu.features,
  });
  const data = { train: train.rows, eval: held?.rows ?? null };
  return {
    config,
    checkpoint,
    tokenizer,
    data,
    train,
    plan,
    trained,
    lora,
    adapter: opened?.adapter ?? null,
    forecast,
    weightDType: dtypeOf("model.layers.0.mlp.up_proj.weight"),
    notes,
  };
}

function largestBatch(batches: readonly MicroBatch[]): MicroBatch {
  return batches.reduce((most, next) => (next.batch.input_ids.length > most.batch.input_ids.length ? next : most));
}

/** Loads the weights of a prepared run and starts or takes over its adapter. */
export async function loadSft(
  recipe: SftRecipe,
  prepared: PreparedSft,
  sources: Pick<SftSources, "gpu" | "signal" | "onProgress">,
  base: string,
): Promise<Trainee> {
  const { gpu, signal, onProgress } = sources;
  const { checkpoint, trained, lora, adapter, forecast } = prepared;
  gpu.pool.budget = forecast.peak;
  const model = await loadModel(gpu, checkpoint, {
    dtype: recipe.dtype,
    trained,
    signal,
    onProgress: (done, total) => onProgress?.("weights", done, total),
  });
  if (adapter) await fillAdapter(gpu, model, adapter);
  else if (lora) initAdapter(gpu, model, uniformFrom(mixSeed(recipe.seed, 3)));
  return { model, lora, base, config: checkpoint.config };
}
