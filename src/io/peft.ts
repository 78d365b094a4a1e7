import { FormatError, NotFoundError, ShapeError, UnsupportedError } from "../errors.ts";
import { float, formatJson } from "../text/json.ts";
import { oneLine, show } from "../text/show.ts";
import { adapterName, parseAdapterName, parseRowsName, parseTableName } from "./adapter-names.ts";
import { ADAPTER_WEIGHTS_FILE, openWeights } from "./adapter-weights.ts";
import { readJson } from "./checkpoint.ts";
import { bytesOf, type Dtype, encodeSafetensors, toFloat32 } from "./safetensors.ts";
import type { Folder } from "./storage.ts";

export { ADAPTER_WEIGHTS_FILE } from "./adapter-weights.ts";
export const ADAPTER_CONFIG_FILE = "adapter_config.json";
/** The fields of PEFT's `LoraConfig` that define an adapter; names and meanings are PEFT's. */
export interface AdapterConfig {
  /** rank, ≥ 1 */
  r: number;
  lora_alpha: number;
  /** probability, in [0, 1) */
  lora_dropout: number;
  /** names of linear layers, or the ends of their paths; text is a regular expression over whole paths, or "all-linear" */
  target_modules: readonly string[] | string;
  /** scale by α/√r instead of α/r */
  use_rslora: boolean;
  /** path or hub id of the base model; empty when unknown */
  base_model_name_or_path: string;
  /** modules to leave out, in the form of target_modules */
  exclude_modules?: readonly string[] | string | null;
  /** different ranks and alphas, by the end of a path or a regular expression for it */
  rank_pattern?: Readonly<Record<string, number>>;
  alpha_pattern?: Readonly<Record<string, number>>;
  /** layers to adapt; null: all */
  layers_to_transform?: readonly number[] | null;
  /** name of the list of layers in a path */
  layers_pattern?: readonly string[] | null;
  /** modules that are trained and saved whole; null: none */
  modules_to_save?: readonly string[] | null;
  /** tokens whose rows of the embedding are trained, or lists of tokens by the name of the table; null: none */
  trainable_token_indices?: TokenIndices | null;
  /** "pissa": the adapter is over a base without its largest singular values; absent: over the base itself */
  init_lora_weights?: "pissa";
  /** DoRA: a trained magnitude for each row of the weights; absent: false */
  use_dora?: boolean;
}

/** Tokens of the embedding, or of each table by its name. */
type TokenIndices = readonly number[] | Readonly<Record<string, readonly number[]>>;

/**
 * One tensor of an adapter under PEFT's name: `base_model.model.….lora_A.weight` `[r, in]`, `….lora_B.weight` `[out, r]`, or with
 * DoRA `….lora_magnitude_vector` `[out]`.
 */
export interface AdapterTensor {
  name: string;
  shape: readonly number[];
  data: Float32Array;
}

/** An opened adapter folder. Tensors have PEFT's names, whatever their names in the file. */
export interface Adapter {
  readonly config: AdapterConfig;
  readonly tensors: ReadonlyMap<string, { dtype: Dtype; shape: readonly number[] }>;
  /** A tensor widened to f32; exact. */
  read(name: string): Promise<Float32Array>;
}

/** Fields of PEFT 0.10 with their values for plain LoRA. Newer fields are written only with other values. */
const PLAIN = {
  alpha_pattern: {},
  auto_mapping: null,
  bias: "none",
  fan_in_fan_out: false,
  inference_mode: true,
  init_lora_weights: true,
  layer_replication: null,
  layers_pattern: null,
  layers_to_transform: null,
  loftq_config: {},
  megatron_config: null,
  megatron_core: "megatron.core",
  modules_to_save: null,
  peft_type: "LORA",
  rank_pattern: {},
  revision: null,
  task_type: "CAUSAL_LM",
  use_dora: false,
};

/** Supported fields. */
const READ = new Set([
  ..."r lora_alpha lora_dropout target_modules use_rslora base_model_name_or_path exclude_modules".split(" "),
  ..."rank_pattern alpha_pattern layers_to_transform layers_pattern peft_type task_type bias init_lora_weights".split(
    " ",
  ),
  "use_dora",
  "modules_to_save",
  "trainable_token_indices",
]);
// These fields never affect the result.
const HARMLESS = new Set([
  ..."auto_mapping inference_mode megatron_core peft_version qalora_group_size revision runtime_config".split(" "),
]);
// Initialisations that do not change the base weights: the saved matrices are then sufficient.
const PLAIN_INIT = [true, false, null, undefined, "gaussian", "orthogonal", "eva"];

/**
 * Opens an adapter's folder: PEFT's, with weights as safetensors or torch's `.bin`, or MLX's.
 *
 * @throws {UnsupportedError} naming the field, for an adapter that is not plain LoRA
 * @throws {FormatError} for a rank below 1, an alpha or dropout out of range, an A without its B
 * @throws {ShapeError} for matrices of one module with different ranks
 * @see https://huggingface.co/docs/peft/package_reference/lora
 */
export async function readAdapter(folder: Folder): Promise<Adapter> {
  const where = `${folder.path}/${ADAPTER_CONFIG_FILE}`;
  const raw = await readJson(folder, ADAPTER_CONFIG_FILE);
  const mlx = "lora_parameters" in raw || "fine_tune_type" in raw;
  const config = mlx ? mlxConfig(raw, where) : peftConfig(raw, where);
  const weights = await openWeights(folder);
  const tensors = new Map<string, Entry>();
  for (const [name, { dtype, shape }] of weights.tensors) {
    const parsed = parseAdapterName(name);
    const table = parsed ? null : (parseTableName(name) ?? parseRowsName(name));
    if (table) {
      tensors.set(table, { dtype, shape, file: name, transposed: false });
      continue;
    }
    if (!parsed) {
      throw new UnsupportedError(
        `Cannot use ${folder.path}: the tensor ${oneLine(name)} is neither a lora_A, lora_B or lora_magnitude_vector of a linear layer nor an embedding or head`,
      );
    }
    const { module, part, transposed } = parsed;
    const key = adapterName(module, part);
    if (tensors.has(key)) throw new FormatError(`Cannot use ${folder.path}: it has two tensors for ${key}`);
    tensors.set(key, { dtype, shape: transposed ? [...shape].reverse() : shape, file: name, transposed });
  }
  checkConfig(config, where);
  checkPairs(tensors, config, folder.path);
  return {
    config: mlx ? { ...config, target_modules: leavesOf(tensors) } : config,
    tensors,
    async read(name) {
      const entry = tensors.get(name);
      if (!entry) throw new NotFoundError(`Cannot read ${name}: ${folder.path} has no such tensor`);
      const { file, dtype, shape, transposed } = entry;
      const values = toFloat32(await weights.read(file), dtype);
      return transposed ? transpose(values, shape) : values;
    },
  };
}

interface Entry {
  dtype: Dtype;
  shape: readonly number[];
  /** its name in the file */
  file: string;
  transposed: boolean;
}

/** Transposes `[in, out]` to `[out, in]`. @param shape of the result */
function transpose(values: Float32Array, [rows, cols]: readonly number[]): Float32Array {
  const turned = new Float32Array(values.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) turned[i * cols + j] = values[j * rows + i];
  return turned;
}

/** Last parts of the modules' paths. */
function leavesOf(tensors: ReadonlyMap<string, unknown>): string[] {
  const leaves = [...tensors.keys()].flatMap((name) => parseAdapterName(name)?.module.split(".").at(-1) ?? []);
  return [...new Set(leaves)];
}

/**
 * Writes a PEFT adapter folder for `PeftModel.from_pretrained` of PEFT 0.10 and later: `adapter_config.json` and
 * `adapter_model.safetensors` (f32). Each file is replaced atomically, the weights first.
 *
 * @param tensors every A and B, under PEFT's names
 * @throws {FormatError} for a config that PEFT refuses, or an A without its B
 * @throws {ShapeError} for matrices of one module with different ranks, or data whose length does not match its shape
 */
export async function writeAdapter(
  folder: Folder,
  config: AdapterConfig,
  tensors: readonly AdapterTensor[],
): Promise<void> {
  const where = `the adapter for ${folder.path}`;
  checkConfig(config, where);
  for (const { name, shape, data } of tensors) {
    const size = shape.reduce((product, extent) => product * extent, 1);
    if (data.length !== size) {
      throw new ShapeError(`Cannot save ${name} [${shape}]: it needs ${size} values, but its data has ${data.length}`);
    }
  }
  checkPairs(new Map(tensors.map((tensor) => [tensor.name, tensor])), config, where);
  const weights = tensors.map(({ name, shape, data }) => ({ name, shape, dtype: "F32" as const, data: bytesOf(data) }));
  await folder.write(ADAPTER_WEIGHTS_FILE, encodeSafetensors(weights, { format: "pt" }));
  const { exclude_modules = null, ...known } = config;
  const fields = {
    ...PLAIN,
    ...known,
    ...(exclude_modules && { exclude_modules }),
    lora_dropout: float(config.lora_dropout),
  };
  const sorted = Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
  await folder.write(ADAPTER_CONFIG_FILE, formatJson(sorted, 2));
}

function peftConfig(raw: Record<string, unknown>, where: string): AdapterConfig {
  refuseUnsupported(raw, where);
  const value = (name: string) =>
    name.startsWith("layers_") && typeof raw[name] !== "object" ? [raw[name]] : raw[name];
  return {
    r: (raw.r ?? 8) as number,
    lora_alpha: (raw.lora_alpha ?? 8) as number,
    lora_dropout: (raw.lora_dropout ?? 0) as number,
    target_modules: raw.target_modules as string[] | string,
    use_rslora: (raw.use_rslora ?? false) as boolean,
    ...(raw.init_lora_weights === "pissa" ? { init_lora_weights: "pissa" as const } : {}),
    ...(raw.use_dora ? { use_dora: raw.use_dora as boolean } : {}),
    base_model_name_or_path: (raw.base_model_name_or_path ?? "") as string,
    // default values are left out
    ...Object.fromEntries(OPTIONAL.filter((name) => !isEmpty(raw[name])).map((name) => [name, value(name)])),
  };
}

const OPTIONAL = [
  "exclude_modules",
  "rank_pattern",
  "alpha_pattern",
  "layers_to_transform",
  "layers_pattern",
  "modules_to_save",
  "trainable_token_indices",
];

/** MLX's adapter_config.json: y = x·Wᵀ + scale·(x·A)·B. */
function mlxConfig(raw: Record<string, unknown>, where: string): AdapterConfig {
  const kind = raw.fine_tune_type ?? "lora";
  if (kind !== "lora") {
    throw new UnsupportedError(
      `Cannot use ${where}: its fine_tune_type is ${show(kind)}, but Qwench reads only "lora"`,
    );
  }
  const parameters = (raw.lora_parameters ?? {}) as Record<string, unknown>;
  const { rank, scale = 20, dropout = 0 } = parameters;
  if (typeof rank !== "number" || typeof scale !== "number") {
    throw new FormatError(
      `Cannot use ${where}: lora_parameters must have the numbers rank and scale, not ${show(raw.lora_parameters)}`,
    );
  }
  return {
    r: rank,
    lora_alpha: scale * rank,
    lora_dropout: dropout as number,
    target_modules: ["?"], // its tensors define them
    use_rslora: false,
    base_model_name_or_path: typeof raw.model === "string" ? raw.model : "",
  };
}

function refuseUnsupported(raw: Record<string, unknown>, where: string): void {
  const refuse = (field: string, rule: string): never => {
    throw new UnsupportedError(`Cannot use ${where}: ${field} is ${show(raw[field])}, and Qwench ${rule}`);
  };
  if (raw.peft_type !== "LORA") refuse("peft_type", `reads "LORA" only`);
  if ((raw.task_type ?? "CAUSAL_LM") !== "CAUSAL_LM") refuse("task_type", `reads "CAUSAL_LM" only`);
  if ((raw.bias ?? "none") !== "none") refuse("bias", `reads "none" only`);
  if (raw.init_lora_weights !== "pissa" && !PLAIN_INIT.includes(raw.init_lora_weights as never)) {
    refuse("init_lora_weights", "cannot follow an initialisation that changes the base weights");
  }
  for (const field of Object.keys(raw)) {
    if (READ.has(field) || HARMLESS.has(field)) continue;
    if (!isEmpty(raw[field])) refuse(field, "does not implement it");
  }
}

function isEmpty(value: unknown): boolean {
  if (value === null || value === undefined || value === false) return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

function checkConfig(config: AdapterConfig, where: string): void {
  const fail = (field: keyof AdapterConfig, rule: string): never => {
    throw new FormatError(`Cannot use ${where}: ${field} must be ${rule}, not ${show(config[field])}`);
  };
  const texts = (value: unknown) =>
    Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === "string" && item !== "");
  const modules = (value: unknown) => (typeof value === "string" && value !== "") || texts(value);
  const numbers = (value: unknown, fits: (n: number) => boolean) =>
    typeof value === "object" && value !== null && Object.values(value).every((n) => typeof n === "number" && fits(n));
  const rank = (n: number) => Number.isSafeInteger(n) && n >= 1;
  if (!rank(config.r)) fail("r", "a whole number ≥ 1");
  if (!Number.isFinite(config.lora_alpha)) fail("lora_alpha", "a finite number");
  if (!(config.lora_dropout >= 0 && config.lora_dropout < 1)) fail("lora_dropout", "in [0, 1)");
  if (!modules(config.target_modules)) fail("target_modules", "a list of at least one name, or a pattern");
  if (typeof config.use_rslora !== "boolean") fail("use_rslora", "true or false");
  if (typeof (config.use_dora ?? false) !== "boolean") fail("use_dora", "true or false");
  if (typeof config.base_model_name_or_path !== "string") fail("base_model_name_or_path", "a string");
  const { exclude_modules = null, layers_to_transform = null, layers_pattern = null } = config;
  const none = (value: unknown) => value === null || (Array.isArray(value) && value.length === 0);
  if (!none(exclude_modules) && !modules(exclude_modules))
    fail("exclude_modules", "null, a list of names or a pattern");
  if (!none(config.modules_to_save ?? null) && !texts(config.modules_to_save))
    fail("modules_to_save", "null or a list of names");
  const indices = config.trainable_token_indices ?? [];
  const lists = Array.isArray(indices) ? [indices] : Object.values(indices);
  const token = (n: number) => Number.isSafeInteger(n) && n >= 0;
  if (!lists.every((ids) => Array.isArray(ids) && numbers(ids, token) && new Set(ids).size === ids.length)) {
    fail("trainable_token_indices", "null, a list of different token ids, or a mapping of names to such lists");
  }
  if (!numbers(config.rank_pattern ?? {}, rank)) fail("rank_pattern", "a mapping of names to whole numbers ≥ 1");
  if (!numbers(config.alpha_pattern ?? {}, Number.isFinite)) fail("alpha_pattern", "a mapping of names to numbers");
  if (!none(layers_to_transform) && !numbers(layers_to_transform, (n) => Number.isSafeInteger(n) && n >= 0)) {
    fail("layers_to_transform", "null or a list of layers");
  }
  if (!none(layers_pattern) && !texts(layers_pattern)) fail("layers_pattern", "null or a list of names");
}

/** Checks that every A has its B, of the same rank, and with DoRA its magnitudes. */
function checkPairs(
  tensors: ReadonlyMap<string, { shape: readonly number[] }>,
  config: AdapterConfig,
  where: string,
): void {
  const use_dora = config.use_dora ?? false;
  const modules_to_save = config.modules_to_save ?? [];
  if (tensors.size === 0) throw new FormatError(`Cannot use ${where}: it has no LoRA matrices`);
  for (const [name, { shape }] of tensors) {
    if (parseRowsName(name)) {
      if (!isEmpty(config.trainable_token_indices)) continue;
      throw new FormatError(`Cannot use ${where}: it holds ${name}, but its trainable_token_indices are empty`);
    }
    if (parseTableName(name)) {
      if (modules_to_save.length > 0) continue;
      throw new FormatError(`Cannot use ${where}: it holds ${name}, which its modules_to_save does not include`);
    }
    const parsed = parseAdapterName(name);
    if (!parsed) throw new FormatError(`Cannot use ${where}: ${oneLine(name)} is not the name of an adapter tensor`);
    if (parsed.part === "lora_magnitude_vector") {
      checkMagnitude(tensors, { name, shape, module: parsed.module }, use_dora, where);
      continue;
    }
    if (shape.length !== 2) throw new ShapeError(`Cannot use ${where}: ${name} is [${shape}], but must be a matrix`);
    const [own, wanted] = parsed.part === "lora_A" ? ["lora_A", "lora_B"] : ["lora_B", "lora_A"];
    const other = name.replace(`.${own}.`, `.${wanted}.`);
    const pair = tensors.get(other);
    if (!pair) throw new FormatError(`Cannot use ${where}: it has ${name}, but ${other} is missing`);
    const magnitude = adapterName(parsed.module, "lora_magnitude_vector");
    if (use_dora && !tensors.has(magnitude)) {
      throw new FormatError(`Cannot use ${where}: use_dora is true and it has ${name}, but ${magnitude} is missing`);
    }
    if (parsed.part === "lora_A" && pair.shape[1] !== shape[0]) {
      throw new ShapeError(
        `Cannot use ${where}: ${name} is [${shape}] and ${other} [${pair.shape}]: their ranks ${shape[0]} and ${pair.shape[1]} differ`,
      );
    }
  }
}

function checkMagnitude(
  tensors: ReadonlyMap<string, { shape: readonly number[] }>,
  { name, shape, module }: { name: string; shape: readonly number[]; module: string },
  use_dora: boolean,
  where: string,
): void {
  if (!use_dora) throw new FormatError(`Cannot use ${where}: it has ${name}, but its use_dora is false`);
  const other = adapterName(module, "lora_B");
  const b = tensors.get(other);
  if (!b) throw new FormatError(`Cannot use ${where}: it has ${name}, but ${other} is missing`);
  if (shape.length !== 1 || shape[0] !== b.shape[0]) {
    throw new ShapeError(
      `Cannot use ${where}: ${name} is [${shape}], but ${other} of [${b.shape}] needs [${b.shape[0]}]`,
    );
  }
}
