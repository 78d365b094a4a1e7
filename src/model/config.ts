import { FormatError, UnsupportedError } from "../errors.ts";
import type { ConfigRule, ModelConfig, YarnScaling } from "./architectures/architecture.ts";
import { architectureOf } from "./architectures/registry.ts";

export type { ModelConfig, YarnScaling };

/** Far above any model; what follows lists every tensor of every layer. */
const MAX_LAYERS = 4096;

type Json = Record<string, unknown>;

/**
 * Reads a config.json.
 *
 * @param file what to call it in errors
 * @throws {UnsupportedError} another architecture, or a field whose value changes the arithmetic in a way that is not implemented
 * @throws {FormatError} a size that is missing or is no positive integer
 */
export function parseModelConfig(json: Json, file = "config.json"): ModelConfig {
  const { model_type, rules } = architectureOf({ model_type: json.model_type as string }, file);
  refuse(json, rules, file);
  const size = (name: string, fallback?: number) => positive(json, name, file, fallback);
  const hidden_size = size("hidden_size");
  const num_attention_heads = size("num_attention_heads");
  const num_key_value_heads = size("num_key_value_heads", num_attention_heads);
  const head_dim =
    json.head_dim === undefined || json.head_dim === null ? hidden_size / num_attention_heads : size("head_dim");
  if (head_dim % 4 !== 0) {
    throw new UnsupportedError(
      `Cannot load ${file}: head_dim is ${head_dim} (hidden_size ${hidden_size}, num_attention_heads ${num_attention_heads}); it must be a multiple of 4`,
    );
  }
  if (num_attention_heads % num_key_value_heads !== 0) {
    throw new FormatError(
      `Cannot load ${file}: num_attention_heads ${num_attention_heads} is no multiple of num_key_value_heads ${num_key_value_heads}`,
    );
  }
  const layers = size("num_hidden_layers");
  if (layers > MAX_LAYERS)
    throw new FormatError(`Cannot load ${file}: num_hidden_layers is ${layers}; at most ${MAX_LAYERS}`);
  const max_position_embeddings = size("max_position_embeddings");
  const rope = (json.rope_parameters ?? json.rope_scaling ?? {}) as Json;
  const rope_theta = (rope.rope_theta ?? json.rope_theta ?? 10000) as number;
  if (typeof rope_theta !== "number" || !(rope_theta > 1))
    throw new FormatError(`Cannot load ${file}: rope_theta must be a number above 1, got ${show(rope_theta)}`);
  const eps = json.rms_norm_eps ?? 1e-6;
  if (typeof eps !== "number" || !(eps > 0))
    throw new FormatError(`Cannot load ${file}: rms_norm_eps must be a positive number, got ${show(eps)}`);
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
    rope_scaling: yarn(rope, max_position_embeddings, file),
    tie_word_embeddings: json.tie_word_embeddings === true,
    attention_bias: json.attention_bias === true,
  };
}

function refuse(json: Json, rules: readonly ConfigRule[], file: string): void {
  for (const { field, allowed, rule } of rules) {
    const value = json[field];
    if (value === undefined || value === null || allowed(value)) continue;
    throw new UnsupportedError(`Cannot load ${file}: ${field} is ${show(value)}; it must be ${rule}`);
  }
}

function yarn(rope: Json, maxPositions: number, file: string): YarnScaling | null {
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
  const factor = number("factor");
  const mscale = (weight: number) => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1);
  const derived =
    rope.mscale && rope.mscale_all_dim ? mscale(number("mscale")) / mscale(number("mscale_all_dim")) : mscale(1);
  return {
    factor,
    original_max_position_embeddings: number("original_max_position_embeddings", maxPositions),
    beta_fast: number("beta_fast", 32),
    beta_slow: number("beta_slow", 1),
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

function show(value: unknown): string {
  return (JSON.stringify(value) ?? "absent").slice(0, 80);
}
