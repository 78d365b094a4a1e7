import { FormatError, UnsupportedError } from "../errors.ts";
import type { DeltaHeads } from "../kernels/delta/heads.ts";
import { oneLine, show } from "../text/show.ts";
import type { Architecture, ConfigRule, ModelConfig, YarnScaling } from "./architectures/architecture.ts";
import { architectureOf } from "./architectures/registry.ts";

export type { ModelConfig, YarnScaling };

/** Largest key head: 16 columns of its state, and the rest, must fit 16 KiB of workgroup memory. */
const MOST_KEY_DIM = 176;
/** Far above any model; the limit bounds the list of all layers' tensors. */
const MAX_LAYERS = 4096;

type Json = Record<string, unknown>;

/**
 * Reads a config.json.
 *
 * @param file its name in errors
 * @throws {UnsupportedError} another architecture, or a field whose value changes the arithmetic in a way that is not implemented
 * @throws {FormatError} a size that is missing or not a positive integer
 */
export function parseModelConfig(json: Json, file = "config.json"): ModelConfig {
  const architecture = architectureOf({ model_type: json.model_type as string }, file);
  const { model_type } = architecture;
  const language = parseFields(languageFields(json, architecture, file), architecture, file, model_type);
  const vision = architecture.vision?.(json, file) ?? null;
  if (vision && vision.out_hidden_size !== language.hidden_size) {
    throw new FormatError(
      `Cannot load ${file}: vision_config.out_hidden_size is ${vision.out_hidden_size}; the language model's hidden_size is ${language.hidden_size}`,
    );
  }
  return { ...language, vision };
}

/** The fields of the language model: config.json itself, or the nested field that holds them. */
function languageFields(json: Json, { nested }: Architecture, file: string): Json {
  if (nested === undefined) return json;
  const inner = json[nested];
  if (typeof inner !== "object" || inner === null || Array.isArray(inner)) {
    throw new FormatError(`Cannot load ${file}: ${nested} must hold the language model's fields, got ${show(inner)}`);
  }
  const { tie_word_embeddings = (inner as Json).tie_word_embeddings, quantization_config } = json;
  return { ...inner, tie_word_embeddings, ...(quantization_config !== undefined && { quantization_config }) };
}

function parseFields(
  json: Json,
  architecture: Architecture,
  file: string,
  model_type: string,
): Omit<ModelConfig, "vision"> {
  refuse(json, architecture.rules, file);
  const size = (name: string, fallback?: number) => positive(json, name, file, fallback);
  const hidden_size = size("hidden_size");
  const num_attention_heads = size("num_attention_heads");
  const num_key_value_heads = size("num_key_value_heads", num_attention_heads);
  const head_dim = size("head_dim", architecture.head_dim ?? hidden_size / num_attention_heads);
  if (head_dim % 4 !== 0) {
    throw new UnsupportedError(
      `Cannot load ${file}: head_dim is ${head_dim} (hidden_size ${hidden_size}, num_attention_heads ${num_attention_heads}); it must be a multiple of 4`,
    );
  }
  if (num_attention_heads % num_key_value_heads !== 0) {
    throw new FormatError(
      `Cannot load ${file}: num_attention_heads ${num_attention_heads} is not a multiple of num_key_value_heads ${num_key_value_heads}`,
    );
  }
  const layers = size("num_hidden_layers");
  if (layers > MAX_LAYERS)
    throw new FormatError(`Cannot load ${file}: num_hidden_layers is ${layers}; it must be at most ${MAX_LAYERS}`);
  const max_position_embeddings = size("max_position_embeddings");
  const rope = ropeOf(json);
  const rope_theta = (rope.rope_theta ?? json.rope_theta ?? 10000) as number;
  if (typeof rope_theta !== "number" || !(rope_theta > 1))
    throw new FormatError(`Cannot load ${file}: rope_theta must be a number above 1, got ${show(rope_theta)}`);
  const eps = json.rms_norm_eps ?? 1e-6;
  if (typeof eps !== "number" || !(eps > 0))
    throw new FormatError(`Cannot load ${file}: rms_norm_eps must be a positive number, got ${show(eps)}`);
  const { layer_types = null, delta = null } = architecture.fields?.(json, size) ?? {};
  if (delta) checkDelta(delta, file);
  return {
    model_type,
    hidden_size,
    intermediate_size: size("intermediate_size"),
    num_hidden_layers: layers,
    num_attention_heads,
    num_key_value_heads,
    head_dim,
    vocab_size: size("vocab_size"),
    max_position_embeddings,
    rms_norm_eps: eps,
    rope_theta,
    rotary_dim: rotaryDim(head_dim, rope.partial_rotary_factor ?? json.partial_rotary_factor, architecture, file),
    rope_scaling: yarn(rope, json, file),
    tie_word_embeddings: json.tie_word_embeddings === true,
    attention_bias: json.attention_bias === true,
    layer_types,
    delta,
    mrope_section: sections(rope.mrope_section, architecture, file),
  };
}

/** How many rotary frequencies turn by time, height and width. @param given from config.json */
function sections(given: unknown, { mrope_section: usual }: Architecture, file: string): readonly number[] | null {
  if (usual === undefined) return null;
  const found = given ?? usual;
  if (Array.isArray(found) && found.length === 3 && found.every((n) => Number.isInteger(n) && n >= 0)) return found;
  throw new FormatError(
    `Cannot load ${file}: mrope_section must hold three numbers of frequencies, got ${show(found)}`,
  );
}

/** Number of elements of a head that rotary embeddings rotate. @param factor from config.json */
function rotaryDim(headDim: number, factor: unknown, architecture: Architecture, file: string): number {
  const { partial_rotary_factor: usual } = architecture;
  if (usual === undefined) return headDim;
  const share = factor ?? usual;
  const turned = typeof share === "number" ? Math.floor(headDim * share) : Number.NaN;
  if (!(turned >= 2 && turned <= headDim && turned % 2 === 0)) {
    throw new UnsupportedError(
      `Cannot load ${file}: partial_rotary_factor is ${show(share)}; of a head of ${headDim} elements it must leave an even number, at least 2`,
    );
  }
  return turned;
}

function checkDelta(heads: DeltaHeads, file: string): void {
  const { num_key_heads, num_value_heads, key_head_dim, value_head_dim } = heads;
  if (num_value_heads % num_key_heads !== 0) {
    throw new FormatError(
      `Cannot load ${file}: linear_num_value_heads ${num_value_heads} is no multiple of linear_num_key_heads ${num_key_heads}`,
    );
  }
  if (key_head_dim % 4 !== 0 || value_head_dim % 4 !== 0 || key_head_dim > MOST_KEY_DIM) {
    throw new UnsupportedError(
      `Cannot load ${file}: linear_key_head_dim is ${key_head_dim} and linear_value_head_dim ${value_head_dim}; they must be multiples of 4, the first at most ${MOST_KEY_DIM}`,
    );
  }
}

function refuse(json: Json, rules: readonly ConfigRule[], file: string): void {
  for (const { field, allowed, rule } of rules) {
    const value = json[field];
    if (value === undefined || value === null || allowed(value, json)) continue;
    throw new UnsupportedError(`Cannot load ${file}: ${field} is ${show(value)}; it must be ${rule}`);
  }
}

/**
 * The field that describes the rotary embedding: as in transformers, `rope_scaling` takes precedence over
 * `rope_parameters`.
 *
 * @see transformers' RotaryEmbeddingConfigMixin.convert_rope_params_to_dict
 */
function ropeOf(json: Json): Json {
  const given = [json.rope_scaling, json.rope_parameters].find(
    (value) => typeof value === "object" && value !== null && Object.keys(value).length > 0,
  );
  return (given ?? {}) as Json;
}

function yarn(rope: Json, json: Json, file: string): YarnScaling | null {
  const type = rope.rope_type ?? rope.type ?? "default";
  if (type === "default") return null;
  if (type !== "yarn")
    throw new UnsupportedError(
      `Cannot load ${file}: rope_scaling type is ${show(type)}; "default" and "yarn" are implemented`,
    );
  const number = (name: string, fallback?: number) => {
    const value = rope[name] ?? fallback;
    if (typeof value !== "number" || !(value > 0))
      throw new FormatError(`Cannot load ${file}: rope_scaling.${name} must be a positive number, got ${show(value)}`);
    return value;
  };
  const positions = json.max_position_embeddings as number;
  // a field of config.json takes precedence over the mapping's
  const { original_max_position_embeddings: outer = null } = json;
  const original =
    outer === null
      ? number("original_max_position_embeddings", positions)
      : positive(json, "original_max_position_embeddings", file);
  const factor = number("factor", "factor" in rope ? positions / original : undefined);
  const mscale = (weight: number) => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1);
  const derived =
    rope.mscale && rope.mscale_all_dim ? mscale(number("mscale")) / mscale(number("mscale_all_dim")) : mscale(1);
  return {
    factor,
    original_max_position_embeddings: original,
    // 0 stands for the default too
    beta_fast: rope.beta_fast ? number("beta_fast") : 32,
    beta_slow: rope.beta_slow ? number("beta_slow") : 1,
    attention_factor: number("attention_factor", derived),
    truncate: rope.truncate !== false,
  };
}

function positive(json: Json, name: string, file: string, fallback?: number): number {
  const value = json[name] ?? fallback;
  if (!Number.isInteger(value) || (value as number) < 1 || (value as number) > 2 ** 31) {
    throw new FormatError(`Cannot load ${file}: ${name} must be a positive integer, got ${show(value)}`);
  }
  return value as number;
}

/** Fields of config.json that do not affect the arithmetic, and the fields that are read or checked. */
const SILENT = new Set([
  ..."architectures auto_map bos_token_id dtype eos_token_id id2label initializer_range label2id".split(" "),
  ..."max_window_layers model_name name_or_path _name_or_path pad_token_id sliding_window tokenizer_class".split(" "),
  ..."torch_dtype transformers_version use_cache use_mrope _attn_implementation _attn_implementation_autoset".split(
    " ",
  ),
  ..."num_return_sequences return_dict output_attentions output_hidden_states problem_type task_specific_params".split(
    " ",
  ),
  ..."is_encoder_decoder is_decoder chunk_size_feed_forward pruned_heads prefix finetuning_task torchscript".split(" "),
  ..."tie_encoder_decoder cross_attention_hidden_size add_cross_attention decoder_start_token_id sep_token_id".split(
    " ",
  ),
]);
const READ = new Set([
  ..."model_type hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads".split(" "),
  ..."head_dim vocab_size max_position_embeddings rms_norm_eps rope_theta rope_scaling rope_parameters".split(" "),
  ..."tie_word_embeddings attention_bias original_max_position_embeddings partial_rotary_factor".split(" "),
]);

/**
 * Notes for the user about a config.json: fields that are ignored, as in transformers or because Qwench does not use
 * them.
 */
export function configNotes(whole: Json): string[] {
  const notes: string[] = [];
  const architecture = architectureOf({ model_type: whole.model_type as string });
  const { nested, rules, known: own = [] } = architecture;
  const json: Json = nested === undefined ? whole : { ...whole, ...(whole[nested] as Json) };
  const both = ["rope_scaling", "rope_parameters"].every((name) => Object.keys((json[name] as Json) ?? {}).length > 0);
  if (both && JSON.stringify(json.rope_scaling) !== JSON.stringify(json.rope_parameters)) {
    notes.push("config.json has both rope_scaling and rope_parameters: rope_scaling is used, as in transformers");
  }
  const nestedShare = ((json.rope_parameters ?? {}) as Json).partial_rotary_factor;
  const share = json.partial_rotary_factor;
  if (share !== undefined && nestedShare !== undefined && share !== nestedShare) {
    notes.push(
      `config.json has partial_rotary_factor ${show(share)} beside ${show(nestedShare)} in rope_parameters: rope_parameters is used, as in transformers`,
    );
  }
  const unknown = Object.keys(json).filter((name) => {
    const value = json[name] ?? null;
    const empty = value === null || value === false || (typeof value === "object" && Object.keys(value).length === 0);
    const known = READ.has(name) || SILENT.has(name) || own.includes(name) || rules.some(({ field }) => field === name);
    return !known && !empty && !name.startsWith("unsloth_");
  });
  if (unknown.length > 0) {
    const named = unknown.slice(0, 8).map((name) => oneLine(name, 64));
    notes.push(`config.json has fields that Qwench does not use: ${named.join(", ")}`);
  }
  return notes;
}
