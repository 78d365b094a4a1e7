import { FormatError, UnsupportedError } from "../../errors.ts";
import { show } from "../../text/show.ts";
import type { AttentionSpec, GeluSpec, LayerSpec, Projection, TowerSpec, VisionConfig } from "./architecture.ts";

type Json = Readonly<Record<string, unknown>>;

/** Frames of a patch, and what is read of other fields if vision_config lacks them: transformers' defaults. */
const DEFAULTS: Partial<Record<keyof VisionConfig, number>> = {
  in_channels: 3,
  temporal_patch_size: 2,
  spatial_merge_size: 2,
  num_position_embeddings: 2304,
};

/**
 * Reads `vision_config` of Qwen3.5.
 *
 * @returns null if config.json has no vision_config
 * @throws {FormatError} a size that is missing, not a positive integer, or does not fit another
 * @throws {UnsupportedError} an activation or head size that is not implemented
 */
export function readVision(json: Json, file: string): VisionConfig | null {
  const given = json.vision_config ?? null;
  if (given === null) return null;
  if (typeof given !== "object" || Array.isArray(given))
    throw new FormatError(`Cannot load ${file}: vision_config must be an object, got ${show(given)}`);
  const vision = given as Json;
  const integer = (from: Json, name: string, prefix: string, fallback?: number) => {
    const value = from[name] ?? fallback;
    if (!Number.isInteger(value) || (value as number) < 1 || (value as number) > 2 ** 31)
      throw new FormatError(`Cannot load ${file}: ${prefix}${name} must be a positive integer, got ${show(value)}`);
    return value as number;
  };
  const size = (name: keyof VisionConfig) => integer(vision, name, "vision_config.", DEFAULTS[name]);
  const theta = ((vision.rope_parameters ?? {}) as Json).rope_theta ?? 10_000;
  if (typeof theta !== "number" || !(theta > 1))
    throw new FormatError(
      `Cannot load ${file}: vision_config's rope_theta must be a number above 1, got ${show(theta)}`,
    );
  const config: VisionConfig = {
    depth: size("depth"),
    hidden_size: size("hidden_size"),
    intermediate_size: size("intermediate_size"),
    num_heads: size("num_heads"),
    in_channels: size("in_channels"),
    patch_size: size("patch_size"),
    temporal_patch_size: size("temporal_patch_size"),
    spatial_merge_size: size("spatial_merge_size"),
    num_position_embeddings: size("num_position_embeddings"),
    out_hidden_size: size("out_hidden_size"),
    rope_theta: theta,
    image_token_id: integer(json, "image_token_id", ""),
  };
  check(config, vision, file);
  return config;
}

function check(config: VisionConfig, vision: Json, file: string): void {
  const { hidden_size: hidden, num_heads, num_position_embeddings: positions } = config;
  const refuse = (what: string) => new UnsupportedError(`Cannot load ${file}: vision_config.${what}`);
  const { hidden_act: act = "gelu_pytorch_tanh", deepstack_visual_indexes: deep = [] } = vision;
  if (act !== "gelu_pytorch_tanh") throw refuse(`hidden_act is ${show(act)}; it must be "gelu_pytorch_tanh"`);
  if (!Array.isArray(deep) || deep.length > 0)
    throw refuse(`deepstack_visual_indexes is ${show(deep)}; it must be empty`);
  if (hidden % (4 * num_heads) !== 0)
    throw refuse(`hidden_size is ${hidden}; its ${num_heads} heads must have a multiple of 4 elements each`);
  if (!Number.isInteger(Math.sqrt(positions)))
    throw refuse(`num_position_embeddings is ${positions}; it must be a square number`);
}

/** Qwen3.5's vision tower. @see transformers, models/qwen3_5/modeling_qwen3_5.py, Qwen3_5VisionModel */
export function qwenTower(config: VisionConfig): TowerSpec {
  const { hidden_size: hidden, in_channels, patch_size, temporal_patch_size, num_position_embeddings } = config;
  const prefix = "model.visual";
  const shape = [hidden, in_channels, temporal_patch_size, patch_size, patch_size];
  const inner = shape.slice(1).reduce((product, extent) => product * extent, 1);
  return {
    prefix,
    eps: 1e-6,
    patch: { projection: { name: "proj", module: "patch_embed.proj", out: hidden, inner, bias: true }, shape },
    positions: "pos_embed.weight",
    grid: Math.sqrt(num_position_embeddings),
    layers: Array.from({ length: config.depth }, (_, i) => layer(config, `${prefix}.blocks.${i}`)),
    merger: merger(config),
  };
}

const linear = (module: string, out: number, inner: number): Projection => {
  return { name: module.slice(module.lastIndexOf(".") + 1), module, out, inner, bias: true };
};

function layer({ hidden_size: hidden, intermediate_size: inner, num_heads }: VisionConfig, prefix: string): LayerSpec {
  const norm = (module: string) => ({ module, size: hidden, zeroCentered: false, bias: true });
  const attention: AttentionSpec = {
    kind: "attention",
    pre: norm("norm1"),
    post: null,
    heads: {
      num_attention_heads: num_heads,
      num_key_value_heads: num_heads,
      head_dim: hidden / num_heads,
      causal: false,
    },
    norms: null,
    gate: false,
    groups: { qkv: [linear("attn.qkv", 3 * hidden, hidden)], o: [linear("attn.proj", hidden, hidden)] },
  };
  const mlp: GeluSpec = {
    kind: "gelu",
    activation: "gelu_pytorch_tanh",
    pre: norm("norm2"),
    post: null,
    groups: { up: [linear("mlp.linear_fc1", inner, hidden)], down: [linear("mlp.linear_fc2", hidden, inner)] },
  };
  return { prefix, sublayers: [attention, mlp] };
}

function merger({ hidden_size, spatial_merge_size, out_hidden_size }: VisionConfig): GeluSpec {
  const wide = hidden_size * spatial_merge_size ** 2;
  return {
    kind: "gelu",
    activation: "gelu",
    pre: { module: "merger.norm", size: hidden_size, zeroCentered: false, bias: true },
    post: null,
    groups: {
      up: [linear("merger.linear_fc1", wide, wide)],
      down: [linear("merger.linear_fc2", out_hidden_size, wide)],
    },
  };
}
