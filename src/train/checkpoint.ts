import { FormatError, NotFoundError } from "../errors.ts";
import type { Gpu } from "../gpu/device.ts";
import { ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, readAdapter } from "../io/peft.ts";
import { encodeSafetensors, openSafetensors, type TensorData } from "../io/safetensors.ts";
import type { Folder } from "../io/storage.ts";
import type { LoraConfig } from "../model/adapters/lora.ts";
import { doubledConfig, halved, type PissaStart } from "../model/adapters/pissa.ts";
import { publishedName } from "../model/architectures/tensors.ts";
import { readPieces, saveAdapter, saveModel } from "../model/files/save.ts";
import type { Transformer } from "../model/transformer.ts";
import { parseBoundedJson } from "../text/bounded-json.ts";
import { float, formatJson } from "../text/json.ts";
import type { EarlyStoppingState } from "./early-stopping.ts";
import type { Optimizer } from "./optimizer.ts";
import type { PlateauState } from "./plateau.ts";

/** A checkpoint's state beside tensors: transformers' trainer_state.json, with Qwench's own fields under `qwench`. */
export interface TrainerState {
  global_step: number;
  max_steps: number;
  epoch: number;
  num_input_tokens_seen: number;
  best_metric: number | null;
  best_model_checkpoint: string | null;
  log_history: { step: number; [name: string]: unknown }[];
  /** as transformers has it; absent without early stopping */
  stateful_callbacks?: { EarlyStoppingCallback?: EarlyStoppingState };
  qwench: {
    version: 1;
    seed: number;
    /** fields of the recipe that decide which rows a step sees; absent in older checkpoints */
    order?: Record<string, unknown>;
    /** what the device rounds: see `roundingOf`; absent in older checkpoints */
    rounding?: Rounding;
    /** fingerprint of the data, so that a resume on other rows is refused */
    fingerprint: number;
    /** sums since the last log, so that the next one is the same after a resume */
    since_log: Record<string, number>;
    /** of reduce_lr_on_plateau */
    plateau?: PlateauState;
    /** kernel variants in use: other variants could round differently */
    tuning: Record<string, string>;
  };
}

/** Fields of a recipe that decide which rows come in which step. */
const ORDER_FIELDS = [
  "seed",
  "data_seed",
  "shuffle_dataset",
  "train_sampling_strategy",
  "per_device_train_batch_size",
  "gradient_accumulation_steps",
  "packing",
  "packing_strategy",
  "num_generations",
  "steps_per_generation",
  "num_iterations",
];

/** A recipe's settings for the order of rows. */
export function orderOf(recipe: object): Record<string, unknown> {
  return Object.fromEntries(
    ORDER_FIELDS.filter((name) => name in recipe).map((name) => [name, (recipe as Record<string, unknown>)[name]]),
  );
}

/** What a device rounds while training, whatever the recipe's `auto` says. */
interface Rounding {
  matmul_precision: string;
  bf16: boolean;
}

/** What a device rounds now. */
export function roundingOf({ precision, activations }: Pick<Gpu, "precision" | "activations">): Rounding {
  return { matmul_precision: precision, bf16: activations === "bf16" };
}

/** What is rounded otherwise than in the checkpoint's run: `bf16 was false and is true`. Nothing of it stops a resume. */
export function changedRounding({ qwench }: TrainerState, now: Rounding): string[] {
  const before = qwench.rounding;
  if (!before) return [];
  return (["matmul_precision", "bf16"] as const)
    .filter((name) => before[name] !== now[name])
    .map((name) => `${name} was ${String(before[name])} and is ${String(now[name])}`);
}

/** Settings that give a resumed run other rows than the checkpoint's run: `seed was 0 and is 1`. */
export function changedOrder({ qwench }: TrainerState, recipe: object): string[] {
  const [before, now] = [qwench.order ?? { seed: qwench.seed }, orderOf(recipe)];
  return Object.keys(before)
    .filter((name) => name in now && before[name] !== now[name])
    .map((name) => `${name} was ${String(before[name])} and is ${String(now[name])}`);
}

const STATE_FILE = "trainer_state.json";
const OPTIMIZER_FILE = "optimizer.safetensors";
const NAME = /^checkpoint-(\d+)$/;

/** The model's origin, and how it is trained. */
export interface Trainee {
  model: Transformer;
  /** null for full training */
  lora: LoraConfig | null;
  /** the adapter's start by PiSSA: the base on the GPU then lacks s·B₀·A₀ */
  pissa?: PissaStart | null;
  /** whether training goes on from an adapter: it is then the reference, as it is before the first step */
  continued?: boolean;
  /** path or id of the base model */
  base: string;
  /** the base model's config.json */
  config: Record<string, unknown>;
  /** tokenizer and generation files to save beside the weights, by name */
  companions?: Readonly<Record<string, string>>;
}

/**
 * Writes the trained weights: a PEFT folder or a whole model. Call it between steps: it frees scratch memory for the
 * copy.
 */
async function saveTrained(folder: Folder, trainee: Trainee): Promise<void> {
  const { model, lora, pissa, base, config, companions = {} } = trainee;
  model.gpu.trim();
  for (const [name, text] of Object.entries(companions)) await folder.write(name, text);
  if (lora) await saveAdapter(folder, model, lora, base, pissa);
  else await saveModel(folder, model, config);
}

/** The temporary folder for a result before its files are renamed. */
const PENDING = "tmp-final";

/**
 * Writes a run's result into its folder. All files are written under temporary names first. Then the file that every
 * reader needs is removed from an earlier result, and its new version is renamed last: a reader never sees a mixture of
 * two results.
 */
export async function saveResult(output: Folder, trainee: Trainee): Promise<void> {
  await output.removeFolder(PENDING);
  const folder = output.folder(PENDING);
  await saveTrained(folder, trainee);
  const mark = trainee.lora ? ADAPTER_CONFIG_FILE : "config.json";
  await output.remove(mark);
  for (const name of (await folder.list()).filter((file) => file !== mark)) {
    await output.rename(`${PENDING}/${name}`, name);
  }
  await output.rename(`${PENDING}/${mark}`, mark);
  await output.removeFolder(PENDING);
}

/** Removes partial files of a killed process. Call it only while no other process writes into the folder. */
export async function sweepOutput(output: Folder): Promise<void> {
  for (const name of await output.folders()) {
    if (name === PENDING || /^tmp-checkpoint-\d+$/.test(name)) await output.removeFolder(name);
  }
}

/** A file beside the tensors and the state: a method's own state between two steps. */
export interface ExtraFile {
  name: string;
  text: string;
}

/**
 * Writes `checkpoint-{step}` under a temporary name, reads it back, then renames it and removes checkpoints beyond
 * `save_total_limit`. If anything fails before the rename, the earlier checkpoints stay.
 *
 * @returns the checkpoint's name
 */
export async function saveCheckpoint(
  output: Folder,
  trainee: Trainee,
  optimizer: Optimizer,
  state: TrainerState,
  limit: number | null,
  extra: readonly ExtraFile[] = [],
): Promise<string> {
  const name = `checkpoint-${state.global_step}`;
  const temporary = `tmp-${name}`;
  await output.removeFolder(temporary);
  const folder = output.folder(temporary);
  await saveTrained(folder, trainee);
  const { gpu } = trainee.model;
  const tensors: TensorData[] = [...optimizer.tensors()].map(([key, tensor]) => ({
    name: key,
    dtype: tensor.dtype === "u8" ? "U8" : "F32",
    shape: tensor.shape,
    data: readPieces(gpu, tensor),
  }));
  await folder.write(OPTIMIZER_FILE, encodeSafetensors(tensors));
  await folder.write(STATE_FILE, formatState(state));
  for (const { name: file, text } of extra) await folder.write(file, text);
  await verify(folder);
  await output.removeFolder(name);
  await output.rename(temporary, name);
  if (limit !== null) await prune(output, limit, [name, state.best_model_checkpoint]);
  return name;
}

/** Integer fields of transformers' file; all other numbers are floats, written as `6.0`. */
const COUNTS = ["step", "global_step", "max_steps", "num_input_tokens_seen"];

function formatState({ qwench, log_history, ...counts }: TrainerState): string {
  const spelled = (fields: object) =>
    Object.fromEntries(
      Object.entries(fields).map(([name, value]) => {
        if (typeof value !== "number" || COUNTS.includes(name)) return [name, value];
        return [name, Number.isFinite(value) ? float(value) : null];
      }),
    );
  return `${formatJson({ ...spelled(counts), log_history: log_history.map(spelled), qwench }, 1)}\n`;
}

/** Opens every file of a checkpoint as a resume would. */
async function verify(folder: Folder): Promise<TrainerState> {
  const state = parseState(await folder.readText(STATE_FILE), `${folder.path}/${STATE_FILE}`);
  await openSafetensors(await folder.open(OPTIMIZER_FILE));
  const weights = (await folder.exists(ADAPTER_WEIGHTS_FILE)) ? ADAPTER_WEIGHTS_FILE : "model.safetensors";
  await openSafetensors(await folder.open(weights));
  return state;
}

async function prune(output: Folder, limit: number, keep: (string | null)[]): Promise<void> {
  const names = await checkpointNames(output);
  let surplus = names.length - Math.max(1, limit);
  for (const name of names) {
    if (surplus <= 0) break;
    if (keep.includes(name)) continue;
    await output.removeFolder(name);
    surplus--;
  }
}

/** Names of the checkpoints in a run's folder, oldest first. */
export async function checkpointNames(output: Folder): Promise<string[]> {
  const names = (await output.folders()).filter((name) => NAME.test(name));
  return names.sort((a, b) => stepOf(a) - stepOf(b));
}

const stepOf = (name: string) => Number(NAME.exec(name)![1]);

/**
 * Finds the checkpoint to resume from.
 *
 * @param which true: the newest complete checkpoint of the run's folder; a folder: that checkpoint
 * @param verifyMore throws if a trainer's own file is damaged
 * @throws {NotFoundError} there is no checkpoint
 * @throws {FormatError} the named checkpoint is damaged
 */
export async function findCheckpoint(
  output: Folder,
  which: true | Folder,
  verifyMore: (folder: Folder) => Promise<unknown> = async () => {},
): Promise<{ folder: Folder; state: TrainerState }> {
  const whole = async (folder: Folder) => {
    const state = await verify(folder);
    await verifyMore(folder);
    return { folder, state };
  };
  if (which !== true) {
    if (!(await which.exists(STATE_FILE)))
      throw new NotFoundError(`Cannot resume from ${which.path}: there is no ${STATE_FILE} in it`);
    return whole(which);
  }
  const damaged: string[] = [];
  for (const name of (await checkpointNames(output)).reverse()) {
    const folder = output.folder(name);
    try {
      return await whole(folder);
    } catch (error) {
      damaged.push((error as Error).message);
    }
  }
  throw new NotFoundError(
    `Cannot resume in ${output.path}: ${damaged.length > 0 ? `every checkpoint is damaged (${damaged.join("; ")})` : "it holds no checkpoint-{step} folder"}`,
  );
}

/** Restores a checkpoint's parameters and optimizer state. */
export async function loadCheckpoint(folder: Folder, trainee: Trainee, optimizer: Optimizer): Promise<void> {
  const { model } = trainee;
  const store = model.store!;
  if (trainee.lora) {
    const adapter = await readAdapter(folder);
    const shape = ({
      r,
      lora_alpha,
      use_rslora,
      use_dora = false,
      modules_to_save = null,
      trainable_token_indices: tokens = null,
      target_modules,
    }: Pick<
      LoraConfig,
      "modules_to_save" | "trainable_token_indices" | "r" | "lora_alpha" | "use_rslora" | "use_dora" | "target_modules"
    >) =>
      `lora_r ${r}, lora_alpha ${lora_alpha}, use_rslora ${use_rslora}${use_dora ? ", use_dora true" : ""} on ${[target_modules, modules_to_save ?? []].flat().sort().join(", ")}${tokens ? `, tokens ${JSON.stringify(tokens)}` : ""}`;
    const { pissa } = trainee;
    const [saved, wanted] = [shape(adapter.config), shape(pissa ? doubledConfig(trainee.lora) : trainee.lora)];
    if (saved !== wanted) {
      throw new FormatError(`Cannot resume from ${folder.path}: it holds ${saved}, but this run is ${wanted}`);
    }
    for (const { name, shape } of store.parameters) {
      if (!adapter.tensors.has(name))
        throw new FormatError(`Cannot resume from ${folder.path}: its adapter lacks ${name}`);
      const data = await adapter.read(name);
      store.write(model.gpu, name, pissa?.matrices.has(name) ? halved({ name, shape, data }) : data);
    }
  } else {
    const file = await openSafetensors(await folder.open("model.safetensors"));
    for (const { name } of store.parameters) {
      const bytes = await file.read(file.tensors.has(name) ? name : publishedName(model.config, name));
      store.write(model.gpu, name, new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4));
    }
  }
  const file = await openSafetensors(await folder.open(OPTIMIZER_FILE));
  await optimizer.load(model.gpu, folder.path, file.tensors.keys(), (name) => file.read(name));
  await model.gpu.settle();
}

function parseState(text: string, where: string): TrainerState {
  let state: TrainerState;
  try {
    state = parseBoundedJson(text) as TrainerState;
  } catch (error) {
    throw new FormatError(`Cannot read ${where}: ${(error as Error).message}`);
  }
  const { version, since_log, tuning } = state?.qwench ?? {};
  const whole = [since_log, tuning].every((part) => typeof part === "object" && part !== null);
  if (!Number.isInteger(state?.global_step) || version !== 1 || !whole || !Array.isArray(state.log_history)) {
    throw new FormatError(
      `Cannot read ${where}: it is not a trainer_state.json that Qwench wrote (global_step ${state?.global_step})`,
    );
  }
  return state;
}
