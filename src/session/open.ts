import type { Pacing, RowSource } from "../data/paced-rows.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { UnsupportedError } from "../errors.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Kernel } from "../gpu/program.ts";
import { type Checkpoint, edited } from "../io/checkpoint.ts";
import type { Adapter } from "../io/peft.ts";
import type { Folder } from "../io/storage.ts";
import type { AdapterInit } from "../model/adapters/adapter.ts";
import type { LoraConfig } from "../model/adapters/lora.ts";
import { startPissa } from "../model/adapters/pissa.ts";
import { patternFits, targetModules, targetsOf, withTower } from "../model/adapters/targets.ts";
import { trainedRows } from "../model/adapters/token-rows.ts";
import { EMBEDDING, HEAD, modulesOf } from "../model/architectures/tensors.ts";
import type { Trained } from "../model/build.ts";
import type { ModelConfig } from "../model/config.ts";
import {
  fillAdapter,
  initAdapter,
  type LoadDType,
  loadModel,
  openAdapterFor,
  type Quantization,
  weightDTypes,
} from "../model/files/load.ts";
import { openModel } from "../model/files/open.ts";
import type { WeightDType } from "../model/slots.ts";
import type { SftRecipe } from "../recipe/recipe.ts";
import { changesBase, startsWithPissa } from "../recipe/rules.ts";
import { show } from "../text/show.ts";
import type { Trainee } from "../train/checkpoint.ts";
import type { MemoryForecast } from "../train/forecast/memory.ts";
import { mixSeed, uniformFrom } from "../train/seed.ts";
import { companionsOf, eosId } from "./companions.ts";
import type { ImageOpener } from "./images.ts";
import { precisionOf } from "./precision.ts";
import { openTokenizer } from "./tokenizer.ts";

/** Where a run's inputs come from. The caller opens them from a disk, the hub, OPFS or memory. */
export interface RunSources {
  gpu: Gpu;
  model: Folder;
  /** a PEFT folder to continue training from */
  adapter?: Folder | null;
  /** replaces the tokenizer's own template */
  chat_template?: string | null;
  signal?: AbortSignal;
  onProgress?: (what: string, done: number, total: number | null) => void;
}

/** A run's inputs with its rows. */
export interface RowSources extends RunSources {
  train: RowSource;
  eval?: RowSource | null;
  /** opens the images of rows, from `imagesFrom`; absent: rows may have none */
  images?: ImageOpener | null;
}

/**
 * Reads a run's rows: those to train on, then those to evaluate on, if there are any.
 *
 * @param names what progress calls the two
 * @param read turns rows into a data set
 */
export async function readRows<T>(
  { train, eval: held, signal, onProgress }: RowSources,
  names: readonly [string, string],
  read: (rows: RowSource, pacing: Pacing) => Promise<T>,
): Promise<[train: T, held: T | null]> {
  const pacing = (what: string): Pacing => ({ signal, onProgress: (count) => onProgress?.(what, count, null) });
  return [await read(train, pacing(names[0])), held ? await read(held, pacing(names[1])) : null];
}

/** A run's model and its trainable part, read and checked but not loaded. */
export interface OpenBase {
  config: ModelConfig;
  checkpoint: Checkpoint;
  tokenizer: Tokenizer | null;
  trained: Exclude<Trained, "none">;
  lora: LoraConfig | null;
  adapter: Adapter | null;
  /** whether the adapter's start, not the model without it, is the model before training */
  continued: boolean;
  /** notes for the user about both */
  notes: string[];
  /** how the frozen projections and the head will be stored */
  weightDType: WeightDType;
  headDType: WeightDType;
  /** tokenizer and generation files, by name, to save with the trained weights */
  companions: Record<string, string>;
  /** fields of config.json that the run changes */
  saved: Record<string, unknown>;
}

/** A run of any method that is ready to load: everything except the weights has been read and checked. */
export interface PreparedBase extends OpenBase {
  /** number of rows or prompts to train on */
  rows: number;
  batches: { readonly max_steps: number; readonly stepsPerEpoch: number };
  /** whether rows have images, so that the vision tower must be loaded */
  vision?: boolean;
  forecast: MemoryForecast;
  /** the kernels that the run will compile, with the tile sizes measured so far */
  kernels(): Kernel[] | Promise<Kernel[]>;
}

/** Fields that determine the trained model and its storage. */
type ModelFields = Pick<
  SftRecipe,
  | "dtype"
  | "gradient_checkpointing"
  | "matmul_precision"
  | "bf16"
  | "load_in_4bit"
  | "load_in_8bit"
  | "use_bnb_nested_quant"
  | "use_peft"
  | "lora_r"
  | "lora_alpha"
  | "lora_dropout"
  | "use_rslora"
  | "use_dora"
  | "lora_target_modules"
  | "exclude_modules"
  | "layers_to_transform"
  | "rank_pattern"
  | "alpha_pattern"
  | "init_lora_weights"
  | "lora_modules_to_save"
  | "trainable_token_indices"
  | "adapter_name_or_path"
  | "seed"
> &
  Partial<Pick<SftRecipe, "finetune_vision_layers">>;

/** Fields that determine how frozen weights are stored. */
export type StorageFields = Pick<SftRecipe, "dtype" | "load_in_4bit" | "load_in_8bit" | "use_bnb_nested_quant">;

/** LoRA settings of a recipe. @throws {UnsupportedError} the settings contradict each other, or select no layer */
export function loraOf(config: ModelConfig, recipe: ModelFields): LoraConfig {
  const { lora_r: r, lora_alpha, lora_dropout, use_rslora, use_dora, lora_target_modules } = recipe;
  const { exclude_modules, layers_to_transform, rank_pattern, alpha_pattern, lora_modules_to_save } = recipe;
  const { trainable_token_indices } = recipe;
  const named = targetModules(config, lora_target_modules);
  const lora: LoraConfig = {
    r,
    lora_alpha,
    lora_dropout,
    use_rslora,
    ...(use_dora && { use_dora }),
    target_modules: recipe.finetune_vision_layers ? withTower(config, named) : named,
    ...(lora_modules_to_save && { modules_to_save: lora_modules_to_save }),
    ...(trainable_token_indices && { trainable_token_indices }),
    ...(exclude_modules && { exclude_modules: oneOrMore(exclude_modules) }),
    ...(layers_to_transform && { layers_to_transform }),
    // the recipe's rules have checked the values
    ...(rank_pattern && { rank_pattern: rank_pattern as Record<string, number> }),
    ...(alpha_pattern && { alpha_pattern: alpha_pattern as Record<string, number> }),
  };
  if (layers_to_transform && typeof lora.target_modules === "string") {
    throw new UnsupportedError(
      `Cannot use layers_to_transform with lora_target_modules ${show(lora.target_modules)}: as in PEFT, a regular expression must select its layers itself`,
    );
  }
  trainedRows(config, lora); // or refuses, as for whole tables
  if (targetsOf(config, lora).length === 0) {
    throw new UnsupportedError(
      `Cannot apply LoRA to any layer: exclude_modules ${show(exclude_modules)} and layers_to_transform ${show(layers_to_transform)} exclude all of the model's ${config.num_hidden_layers} layers that lora_target_modules names`,
    );
  }
  return lora;
}

/** PEFT's form: a regular expression becomes text; names stay a list. */
function oneOrMore(names: readonly string[]): readonly string[] | string {
  return names.length === 1 && /[*+?()[\]|\\^$]/.test(names[0]) ? names[0] : names;
}

/** Patterns of a recipe that match no layer with LoRA, which is likely a mistake. */
function idlePatterns(config: ModelConfig, lora: LoraConfig): string[] {
  const targets = targetsOf(config, lora);
  return (["rank_pattern", "alpha_pattern"] as const).flatMap((name) =>
    Object.keys(lora[name] ?? {})
      .filter((key) => !targets.some(({ path }) => patternFits(key, path, name)))
      .map((key) => `${name}: ${show(key)} matches no linear layer that has LoRA`),
  );
}

/** How a recipe's frozen weights are stored. */
export function storageOf({ dtype, load_in_4bit, load_in_8bit, use_bnb_nested_quant: double }: StorageFields): {
  dtype: LoadDType;
  quantization: Quantization | null;
} {
  const type = load_in_4bit ? "nf4" : load_in_8bit ? "int8" : null;
  return { dtype, quantization: type && { type, double } };
}

/** Opens a run's model: reads its files' headers, its tokenizer and the adapter to continue from. */
export async function openBase(
  recipe: ModelFields & { eos_token?: string | null },
  { gpu, model, adapter, chat_template = null }: RunSources,
): Promise<OpenBase> {
  const { checkpoint, config, notes } = await openModel(model);
  const opened = adapter ? await openAdapterFor(config, adapter, checkpoint) : null;
  const lora = opened?.lora ?? (recipe.use_peft ? loraOf(config, recipe) : null);
  const dtypeOf = weightDTypes(gpu, config, checkpoint, storageOf(recipe));
  const weightDType = dtypeOf(`${modulesOf(config)[0].path}.weight`);
  gpu.precision = precisionOf(recipe.matmul_precision, gpu, weightDType);
  gpu.activations = recipe.bf16 ? "bf16" : "f32";
  const rounds = gpu.precision === "high" || recipe.matmul_precision !== "high";
  const tokenizer = await openTokenizer(model, adapter);
  const { eos_token = null } = recipe;
  const text = { chat_template, eos_token };
  return {
    config,
    checkpoint,
    tokenizer,
    trained: lora ? { lora } : "all",
    lora,
    adapter: opened?.adapter ?? null,
    continued: opened !== null || changesBase(recipe),
    notes: [
      ...notes,
      ...(rounds
        ? []
        : [
            "matmul_precision high: this device has no matrix units of f16 that give the right numbers, so products are computed in f32",
          ]),
      ...(opened?.notes ?? []),
      ...(lora && !opened ? idlePatterns(config, lora) : []),
    ],
    companions: await companionsOf({ model, adapter: adapter ?? null, whole: lora === null }, text, tokenizer),
    saved: { ...(lora === null && eos_token && tokenizer && { eos_token_id: eosId(tokenizer, eos_token) }) },
    weightDType,
    headDType: dtypeOf(config.tie_word_embeddings ? EMBEDDING : HEAD),
  };
}

/** Loads the weights of a prepared run of any method and creates or loads its adapter. */
export async function loadTrainee(
  recipe: ModelFields,
  prepared: PreparedBase,
  sources: Pick<RunSources, "gpu" | "signal" | "onProgress">,
  base: string,
): Promise<Trainee> {
  const { gpu, signal, onProgress } = sources;
  const { checkpoint, trained, lora, adapter, forecast, companions, saved, vision } = prepared;
  gpu.pool.budget = forecast.peak;
  const pissa =
    lora && !adapter && startsWithPissa(recipe)
      ? await startPissa(checkpoint, targetsOf(prepared.config, lora), {
          signal,
          onProgress: (done, total) => onProgress?.("singular values", done, total),
        })
      : null;
  const load = () =>
    loadModel(gpu, checkpoint, {
      ...storageOf(recipe),
      trained,
      residuals: pissa?.residuals,
      vision,
      signal,
      onProgress: (done, total) => onProgress?.("weights", done, total),
    });
  const model = await compiling(gpu, await prepared.kernels(), load, onProgress);
  model.gradient_checkpointing = recipe.gradient_checkpointing;
  if (adapter) await fillAdapter(gpu, model, adapter);
  else if (lora) {
    const start = pissa?.matrices ?? (recipe.init_lora_weights as AdapterInit);
    initAdapter(gpu, model, uniformFrom(mixSeed(recipe.seed, 3)), start);
  }
  const { continued } = prepared;
  return { model, lora, pissa, continued, base, config: edited(checkpoint.config, saved), companions };
}

/** Compiles kernels while `load` runs, and waits for both. Stops compiling if loading fails. Reports what is left after it. */
export async function compiling<T>(
  gpu: Gpu,
  kernels: readonly Kernel[],
  load: () => Promise<T>,
  onProgress?: RunSources["onProgress"],
): Promise<T> {
  const stop = new AbortController();
  let known = false;
  const compiled = gpu.prepare(kernels, stop.signal, (done, total) => {
    if (known) onProgress?.("compiling kernels", done, total); // until then, loading has its own progress
  });
  compiled.catch(() => {}); // awaited below, unless loading fails first
  try {
    const loaded = await load();
    known = true;
    await compiled;
    return loaded;
  } finally {
    stop.abort();
  }
}
