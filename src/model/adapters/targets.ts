import { UnsupportedError } from "../../errors.ts";
import type { AdapterConfig } from "../../io/peft.ts";
import { show } from "../../text/show.ts";
import type { ModelConfig } from "../architectures/architecture.ts";
import { type Module, moduleNames, modulesOf, towerModules } from "../architectures/tensors.ts";

/** The linear layers that an adapter changes, and their ranks: fields of PEFT's `LoraConfig`. */
export type TargetFields = Pick<
  AdapterConfig,
  | "r"
  | "lora_alpha"
  | "use_rslora"
  | "target_modules"
  | "exclude_modules"
  | "rank_pattern"
  | "alpha_pattern"
  | "layers_to_transform"
  | "layers_pattern"
  | "use_dora"
>;

/** A linear layer with an adapter. */
export interface Target extends Module {
  r: number;
  /** factor of the low-rank product: α/r, or α/√r with rsLoRA (arXiv:2312.03732) */
  scale: number;
  /** whether its rows have trained magnitudes */
  dora: boolean;
}

const MOST_PATTERN = 2000;
/** A quantifier inside a group that is itself quantified: `(a+)+`. */
const REPEATED_REPEATS = /\((?:[^()\\]|\\.)*[*+}](?:[^()\\]|\\.)*\)[*+{]/;

/**
 * Compiles a Python pattern of PEFT's that must match a whole text.
 *
 * @throws {UnsupportedError} invalid in JavaScript
 */
function pattern(text: string, field: string): RegExp {
  if (text.length > MOST_PATTERN || REPEATED_REPEATS.test(text)) {
    throw new UnsupportedError(
      `Cannot use ${field} ${show(text)}: patterns with nested quantifiers, or of more than ${MOST_PATTERN} characters, could run forever`,
    );
  }
  try {
    // named groups are the only difference in syntax here
    return new RegExp(`^(?:${text.replaceAll("(?P<", "(?<")})$`);
  } catch (error) {
    throw new UnsupportedError(
      `Cannot use ${field} ${show(text)}: it is not a valid regular expression (${(error as Error).message})`,
    );
  }
}

/** Whether names or a pattern match a path: `q_proj` and `self_attn.q_proj` match all paths that end with them. */
function means(wanted: readonly string[] | string, path: string, field: string): boolean {
  if (typeof wanted === "string") return pattern(wanted, field).test(path);
  return wanted.some((name) => path === name || path.endsWith(`.${name}`));
}

/** The layer number that `layers_to_transform` refers to: the first number in the path. */
function layerIn(path: string, names: readonly string[] | null): number | null {
  const tried = names && names.length > 0 ? names.map((name) => `(?:.*?\\.)?${name}`) : [".*?\\.[^.]*"];
  for (const text of tried) {
    const found = pattern(`${text}\\.(\\d+)\\..*`, "layers_pattern").exec(path);
    if (found) return Number(found[1]);
  }
  return null;
}

/** Whether a key of rank_pattern or alpha_pattern matches a path: a regular expression for its end, at a dot. */
export function patternFits(key: string, path: string, field: string): boolean {
  return pattern(`(?:.*\\.)?(?:${key})`, field).test(path);
}

/** The value of the first key that matches a path. */
function byPattern(patterns: Readonly<Record<string, number>> | undefined, path: string, field: string): number | null {
  const key = Object.keys(patterns ?? {}).find((key) => patternFits(key, path, field));
  return key === undefined ? null : patterns![key];
}

/**
 * The linear layers of a model that an adapter changes, with the rank and factor of each, chosen as in PEFT. Names and patterns
 * may also mean layers of the vision tower; `all-linear` means those of the language model.
 *
 * @see peft/tuners/tuners_utils.py, check_target_module_exists; peft/utils/other.py, get_pattern_key
 */
export function targetsOf(config: ModelConfig, fields: TargetFields): Target[] {
  const { r, lora_alpha, use_rslora, target_modules: wanted, exclude_modules, layers_to_transform: layers } = fields;
  const dora = fields.use_dora ?? false;
  const all = wanted === "all-linear" || (Array.isArray(wanted) && wanted.includes("all-linear"));
  const own = modulesOf(config);
  return [...own, ...(all ? [] : towerModules(config))].flatMap((module): Target[] => {
    const { path } = module;
    if (exclude_modules && exclude_modules.length > 0 && means(exclude_modules, path, "exclude_modules")) return [];
    if (!all && !means(wanted, path, "target_modules")) return [];
    // PEFT checks the layer only for lists of names, and not for names that are whole paths
    if (layers && layers.length > 0 && Array.isArray(wanted) && !wanted.includes(path)) {
      const layer = layerIn(path, fields.layers_pattern ?? null);
      if (layer === null || !layers.includes(layer)) return [];
    }
    const rank = byPattern(fields.rank_pattern, path, "rank_pattern") ?? r;
    const alpha = byPattern(fields.alpha_pattern, path, "alpha_pattern") ?? lora_alpha;
    return [{ ...module, r: rank, scale: alpha / (use_rslora ? Math.sqrt(rank) : rank), dora }];
  });
}

/** Whether an adapter changes the vision tower. */
export function changesTower(config: ModelConfig, fields: TargetFields): boolean {
  const own = modulesOf(config).length;
  return targetsOf(config, fields).some(({ index }) => index >= own);
}

/**
 * Names of the vision tower's linear layers for `target_modules`. With the part before it, since `proj` would mean the convolution of
 * patches too.
 */
function towerNames(config: ModelConfig): string[] {
  const ending = ({ path }: Module) => path.split(".").slice(-2).join(".");
  return [...new Set(towerModules(config).map(ending))];
}

/**
 * The same target modules with all linear layers of the vision tower.
 *
 * @throws {UnsupportedError} the model has no vision tower, or one regular expression says which layers it means
 */
export function withTower(config: ModelConfig, modules: readonly string[] | string): readonly string[] {
  const names = towerNames(config);
  if (names.length === 0) {
    throw new UnsupportedError(
      `Cannot use finetune_vision_layers true: the model (${config.model_type}) has no vision tower`,
    );
  }
  if (typeof modules === "string") {
    throw new UnsupportedError(
      `Cannot use finetune_vision_layers with lora_target_modules ${show(modules)}: a regular expression must name the tower's layers (${names.join(", ")}) itself`,
    );
  }
  return [...modules, ...names.filter((name) => !modules.includes(name))];
}

/**
 * `lora_target_modules` of a recipe, as adapter_config.json stores it: `all-linear` becomes the language model's own names, in
 * their order; paths and patterns stay as they are.
 *
 * @throws {UnsupportedError} a name that matches no linear layer of the model
 */
export function targetModules(config: ModelConfig, modules: readonly string[] | string): readonly string[] | string {
  const known = moduleNames(config);
  const names = typeof modules === "string" ? [modules] : modules;
  if (names.length === 0) throw new UnsupportedError("Cannot apply LoRA: lora_target_modules is empty");
  if (names.includes("all-linear")) return known;
  const paths = [...modulesOf(config), ...towerModules(config)].map(({ path }) => path);
  const other = names.find((name) => !paths.some((path) => means([name], path, "lora_target_modules")));
  if (other === undefined) {
    const plain = names.every((name) => known.includes(name));
    return plain ? known.filter((name) => names.includes(name)) : [...new Set(names)];
  }
  const whole = names.length === 1 && /[*+?()[\]|\\^$]/.test(other);
  if (whole && paths.some((path) => means(other, path, "lora_target_modules"))) return other;
  throw new UnsupportedError(
    `Cannot apply LoRA to ${show(other)}: lora_target_modules must be "all-linear", a list of names (${known.join(", ")}) or path endings, or one regular expression that matches whole paths such as ${paths[0]}`,
  );
}
