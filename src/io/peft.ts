import { FormatError, ShapeError, UnsupportedError } from "../errors.ts";
import { readJson } from "./checkpoint.ts";
import { show } from "./names.ts";
import { bytesOf, type Dtype, encodeSafetensors, openSafetensors, toFloat32 } from "./safetensors.ts";
import type { Folder } from "./storage.ts";

export const ADAPTER_CONFIG_FILE = "adapter_config.json";
export const ADAPTER_WEIGHTS_FILE = "adapter_model.safetensors";

/** The fields of PEFT's `LoraConfig` that Qwench trains with; names and meanings are PEFT's. */
export interface AdapterConfig {
  /** rank, ≥ 1 */
  r: number;
  lora_alpha: number;
  /** probability, in [0, 1) */
  lora_dropout: number;
  /** leaf names of the adapted linear layers, such as `q_proj` */
  target_modules: string[];
  /** scale by α/√r instead of α/r */
  use_rslora: boolean;
  /** path or hub id of the base model; empty when unknown */
  base_model_name_or_path: string;
}

/** One LoRA matrix under PEFT's name: `base_model.model.….lora_A.weight` `[r, in]` or `….lora_B.weight` `[out, r]`. */
export interface AdapterTensor {
  name: string;
  shape: readonly number[];
  data: Float32Array;
}

/** A PEFT folder, opened. */
export interface Adapter {
  readonly config: AdapterConfig;
  readonly tensors: ReadonlyMap<string, { dtype: Dtype; shape: readonly number[] }>;
  /** A tensor widened to f32; exact. */
  read(name: string): Promise<Float32Array>;
}

// PEFT 0.20's fields with the values they have when nothing but plain LoRA is used.
const PLAIN = {
  alora_invocation_tokens: null,
  alpha_pattern: {},
  arrow_config: null,
  auto_mapping: null,
  bias: "none",
  corda_config: null,
  ensure_weight_tying: false,
  eva_config: null,
  exclude_modules: null,
  fan_in_fan_out: false,
  inference_mode: true,
  init_lora_weights: true,
  layer_replication: null,
  layers_pattern: null,
  layers_to_transform: null,
  loftq_config: {},
  lora_bias: false,
  lora_ga_config: null,
  megatron_config: null,
  megatron_core: "megatron.core",
  modules_to_save: null,
  monteclora_config: null,
  peft_type: "LORA",
  peft_version: "0.20.0",
  qalora_group_size: 16,
  rank_pattern: {},
  revision: null,
  target_parameters: null,
  task_type: "CAUSAL_LM",
  trainable_token_indices: null,
  use_bdlora: null,
  use_dora: false,
  use_qalora: false,
  velora_config: null,
} as const;

// Any value of these leaves the numbers as they are.
const HARMLESS = new Set([
  ..."auto_mapping inference_mode megatron_core peft_version qalora_group_size revision runtime_config".split(" "),
]);
// Initialisations that leave the base weights alone: the saved A and B are then all there is.
const PLAIN_INIT = [true, false, null, undefined, "gaussian", "orthogonal", "eva"];

/**
 * Opens a PEFT adapter folder.
 *
 * @throws {UnsupportedError} naming the field, for an adapter that is more than plain LoRA
 * @throws {FormatError} for a rank below 1, an alpha or dropout out of range, an A without its B
 * @throws {ShapeError} for a matrix that is not of rank r
 * @see https://huggingface.co/docs/peft/package_reference/lora
 */
export async function readAdapter(folder: Folder): Promise<Adapter> {
  const where = `${folder.path}/${ADAPTER_CONFIG_FILE}`;
  const raw = await readJson(folder, ADAPTER_CONFIG_FILE);
  refuseUnsupported(raw, where);
  const file = await openSafetensors(await folder.open(ADAPTER_WEIGHTS_FILE));
  const names = [...file.tensors.keys()];
  const config: AdapterConfig = {
    r: raw.r as number,
    lora_alpha: (raw.lora_alpha ?? 8) as number,
    lora_dropout: (raw.lora_dropout ?? 0) as number,
    target_modules: targetModules(raw.target_modules, names, where),
    use_rslora: (raw.use_rslora ?? false) as boolean,
    base_model_name_or_path: (raw.base_model_name_or_path ?? "") as string,
  };
  checkConfig(config, where);
  checkTensors(config, file.tensors, file.source.name);
  return {
    config,
    tensors: file.tensors,
    async read(name) {
      return toFloat32(await file.read(name), file.tensors.get(name)!.dtype);
    },
  };
}

/**
 * Writes a PEFT adapter folder that `PeftModel.from_pretrained` loads: `adapter_config.json` and
 * `adapter_model.safetensors` (f32). Each file is replaced atomically; the weights come first.
 *
 * @param tensors every A and B, under PEFT's names
 * @throws {FormatError} for a config that PEFT would refuse, or an A without its B
 * @throws {ShapeError} for a matrix that is not of rank r, or data that is not the length of its shape
 */
export async function writeAdapter(
  folder: Folder,
  config: AdapterConfig,
  tensors: readonly AdapterTensor[],
): Promise<void> {
  checkConfig(config, `the adapter for ${folder.path}`);
  for (const { name, shape, data } of tensors) {
    const size = shape.reduce((product, extent) => product * extent, 1);
    if (data.length !== size) {
      throw new ShapeError(`Cannot save ${name} [${shape}]: it takes ${size} values, and its data has ${data.length}`);
    }
  }
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  checkTensors(config, byName, `the adapter for ${folder.path}`);
  const weights = tensors.map(({ name, shape, data }) => ({ name, shape, dtype: "F32" as const, data: bytesOf(data) }));
  await folder.write(ADAPTER_WEIGHTS_FILE, encodeSafetensors(weights, { format: "pt" }));
  const { r, lora_alpha, lora_dropout, target_modules, use_rslora, base_model_name_or_path } = config;
  const fields = { ...PLAIN, r, lora_alpha, lora_dropout, target_modules, use_rslora, base_model_name_or_path };
  const sorted = Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
  await folder.write(ADAPTER_CONFIG_FILE, JSON.stringify(sorted, null, 2));
}

function refuseUnsupported(raw: Record<string, unknown>, where: string): void {
  const refuse = (field: string, rule: string): never => {
    throw new UnsupportedError(`Cannot use ${where}: ${field} is ${show(raw[field])}, and Qwench ${rule}`);
  };
  if (raw.peft_type !== "LORA") refuse("peft_type", `reads "LORA" only`);
  if ((raw.task_type ?? "CAUSAL_LM") !== "CAUSAL_LM") refuse("task_type", `reads "CAUSAL_LM" only`);
  if ((raw.bias ?? "none") !== "none") refuse("bias", `reads "none" only`);
  if (!PLAIN_INIT.includes(raw.init_lora_weights as never)) {
    refuse("init_lora_weights", "cannot follow an initialisation that changes the base weights");
  }
  const known = new Set("r lora_alpha lora_dropout target_modules use_rslora base_model_name_or_path".split(" "));
  const checked = new Set(["peft_type", "task_type", "bias", "init_lora_weights"]);
  for (const field of Object.keys(raw)) {
    if (known.has(field) || checked.has(field) || HARMLESS.has(field)) continue;
    if (!isEmpty(raw[field])) refuse(field, "does not implement it");
  }
}

function isEmpty(value: unknown): boolean {
  if (value === null || value === undefined || value === false) return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

function targetModules(value: unknown, names: string[], where: string): string[] {
  if (Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === "string")) return value;
  // A string is a regular expression over module names, or "all-linear": the tensors say what it matched.
  if (typeof value === "string") return [...new Set(names.map((name) => parseName(name)?.leaf ?? name))];
  throw new FormatError(`Cannot use ${where}: target_modules must be a list of names or a pattern, not ${show(value)}`);
}

function checkConfig(config: AdapterConfig, where: string): void {
  const fail = (field: keyof AdapterConfig, rule: string): never => {
    throw new FormatError(`Cannot use ${where}: ${field} must be ${rule}, not ${show(config[field])}`);
  };
  if (!Number.isSafeInteger(config.r) || config.r < 1) fail("r", "a whole number ≥ 1");
  if (!Number.isFinite(config.lora_alpha)) fail("lora_alpha", "a finite number");
  if (!(config.lora_dropout >= 0 && config.lora_dropout < 1)) fail("lora_dropout", "in [0, 1)");
  if (config.target_modules.length === 0) fail("target_modules", "a list of at least one name");
  if (typeof config.use_rslora !== "boolean") fail("use_rslora", "true or false");
  if (typeof config.base_model_name_or_path !== "string") fail("base_model_name_or_path", "a string");
}

/** Splits `base_model.model.{module}.lora_A.weight`. */
function parseName(name: string): { module: string; leaf: string; matrix: "A" | "B" } | undefined {
  const match = /^base_model\.model\.(.+)\.lora_([AB])\.weight$/.exec(name);
  if (!match) return undefined;
  const module = match[1]!;
  return { module, leaf: module.slice(module.lastIndexOf(".") + 1), matrix: match[2] as "A" | "B" };
}

function checkTensors(
  config: AdapterConfig,
  tensors: ReadonlyMap<string, { shape: readonly number[] }>,
  where: string,
) {
  if (tensors.size === 0) throw new FormatError(`Cannot use ${where}: it has no LoRA matrices`);
  for (const [name, { shape }] of tensors) {
    const parsed = parseName(name);
    if (!parsed) {
      throw new UnsupportedError(
        `Cannot use ${where}: the tensor ${name} is not base_model.model.….lora_A.weight or ….lora_B.weight`,
      );
    }
    if (!config.target_modules.some((target) => parsed.module === target || parsed.module.endsWith(`.${target}`))) {
      throw new FormatError(
        `Cannot use ${where}: ${name} belongs to none of the target_modules ${config.target_modules.join(", ")}`,
      );
    }
    const rank = parsed.matrix === "A" ? shape[0] : shape[1];
    if (shape.length !== 2 || rank !== config.r) {
      const want = parsed.matrix === "A" ? `[${config.r}, in]` : `[out, ${config.r}]`;
      throw new ShapeError(`Cannot use ${where}: ${name} is [${shape}], and r = ${config.r} wants ${want}`);
    }
    const other = `base_model.model.${parsed.module}.lora_${parsed.matrix === "A" ? "B" : "A"}.weight`;
    if (!tensors.has(other)) throw new FormatError(`Cannot use ${where}: ${name} is there, and ${other} is missing`);
  }
}
