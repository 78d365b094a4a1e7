import { UnsupportedError } from "../../errors.ts";
import type { GgufValue } from "../../io/gguf/gguf.ts";
import { deltaWidth } from "../../kernels/delta/heads.ts";
import type { GgufMeta, GgufRewrite, GgufSpec, ModelConfig } from "./architecture.ts";
import { DECODER_GGUF_NAMES } from "./decoder.ts";

/** Sections of M-RoPE where config.json names none; llama.cpp requires them, and text has equal positions on all axes. */
const MROPE_SECTION = [11, 11, 10, 0];
const TAPS = 4;

/** Every how many layers has attention. @throws {UnsupportedError} layer types that llama.cpp cannot express */
function intervalOf({ layer_types: types }: ModelConfig): number {
  const first = types!.indexOf("full_attention");
  const interval = first < 0 ? types!.length + 1 : first + 1;
  const wrong = types!.findIndex((type, i) => ((i + 1) % interval === 0) !== (type === "full_attention"));
  if (wrong >= 0) {
    throw new UnsupportedError(
      `Cannot write qwen35 to GGUF: layer ${wrong} is ${types![wrong]}, but llama.cpp has attention in every ${interval}th layer and in no other. Export the merged model as safetensors`,
    );
  }
  return interval;
}

function metadata(config: ModelConfig, json: Record<string, unknown>): [string, GgufValue][] {
  const { head_dim, rotary_dim, delta } = config;
  const { num_key_heads, num_value_heads, key_head_dim, value_head_dim } = delta!;
  if (key_head_dim !== value_head_dim) {
    throw new UnsupportedError(
      `Cannot write qwen35 to GGUF: linear_key_head_dim ${key_head_dim} differs from linear_value_head_dim ${value_head_dim}, but llama.cpp has one ssm.state_size for both. Export the merged model as safetensors`,
    );
  }
  const text = (json.text_config ?? json) as { rope_parameters?: { mrope_section?: number[] } };
  const sections = text.rope_parameters?.mrope_section ?? MROPE_SECTION;
  const u32 = (key: string, value: number): [string, GgufValue] => [key, { type: "u32", value }];
  return [
    u32("attention.key_length", head_dim),
    u32("attention.value_length", head_dim),
    u32("rope.dimension_count", rotary_dim),
    ["rope.dimension_sections", { type: "i32s", value: fitted(sections, rotary_dim / 2) }],
    u32("ssm.conv_kernel", TAPS),
    u32("ssm.state_size", key_head_dim),
    u32("ssm.group_count", num_key_heads),
    u32("ssm.time_step_rank", num_value_heads),
    u32("ssm.inner_size", num_value_heads * value_head_dim),
    u32("full_attention_interval", intervalOf(config)),
  ];
}

/** The same fields back as config.json has them. */
function config(of: GgufMeta): Record<string, unknown> {
  const number = (key: string) => of(key) as number;
  const interval = number("full_attention_interval");
  const layers = number("block_count") - ((of("nextn_predict_layers") as number | undefined) ?? 0);
  return {
    model_type: "qwen3_5_text",
    num_hidden_layers: layers,
    layer_types: Array.from({ length: layers }, (_, i) =>
      (i + 1) % interval === 0 ? "full_attention" : "linear_attention",
    ),
    linear_num_key_heads: of("ssm.group_count"),
    linear_num_value_heads: of("ssm.time_step_rank"),
    linear_key_head_dim: of("ssm.state_size"),
    linear_value_head_dim: number("ssm.inner_size") / number("ssm.time_step_rank"),
    linear_conv_kernel_dim: of("ssm.conv_kernel"),
    rope_parameters: {
      rope_type: "default",
      rope_theta: of("rope.freq_base"),
      partial_rotary_factor: number("rope.dimension_count") / number("attention.key_length"),
      mrope_section: (of("rope.dimension_sections") as readonly number[]).slice(0, 3),
    },
    rope_theta: undefined,
    attention_bias: false,
  };
}

/**
 * The frequencies that each axis really has, of so many: llama.cpp aborts the process on sections that together exceed a head,
 * where transformers leaves out what exceeds.
 */
function fitted(sections: readonly number[], count: number): number[] {
  const [, rows, columns] = [0, 1, 2].map((axis) => Math.min(sections[axis], Math.floor((count - axis + 2) / 3)));
  return [count - rows - columns, rows, columns, 0];
}

/** How llama.cpp's converter rewrites tensors; by the end of a name. */
function rewrite({ delta, hidden_size: hidden }: ModelConfig, name: string): GgufRewrite | null {
  const { num_key_heads: keys, num_value_heads: values, key_head_dim, value_head_dim: dv } = delta!;
  const [qk, all] = [2 * keys * key_head_dim, values * dv];
  // value heads: by key head in a checkpoint, in turn in a GGUF file, so that ggml can repeat keys as blocks
  const heads = (unit: number, first = 0, line = first + values * unit) =>
    keys === values ? {} : { order: { unit, first, line, groups: keys } };
  const module = name.split(".").slice(-3).join(".");
  if (module.endsWith("linear_attn.norm.weight")) return null;
  if (name.endsWith("norm.weight")) return { value: { to: (w) => w + 1, from: (w) => w - 1 } };
  if (name.endsWith("A_log")) return { value: { to: (w) => -Math.exp(w), from: (w) => Math.log(-w) }, ...heads(1) };
  if (name.endsWith("dt_bias")) return heads(1);
  if (name.endsWith("conv1d.weight"))
    return { shape: [deltaWidth(delta!), TAPS], exact: true, ...heads(dv * TAPS, qk * TAPS) };
  if (name.endsWith("in_proj_qkv.weight")) return heads(dv * hidden, qk * hidden);
  if (name.endsWith("in_proj_z.weight")) return heads(dv * hidden);
  if (name.endsWith("in_proj_a.weight") || name.endsWith("in_proj_b.weight")) return heads(hidden);
  if (name.endsWith("out_proj.weight")) return heads(dv, 0, all);
  return null;
}

/** @see llama.cpp, conversion/qwen.py (Qwen3NextModel, _LinearAttentionVReorderBase, Qwen3_5TextModel) and src/models/qwen35.cpp */
export const QWEN35_GGUF: GgufSpec = {
  architecture: "qwen35",
  names: {
    ...DECODER_GGUF_NAMES,
    post_attention_layernorm: "post_attention_norm",
    "linear_attn.in_proj_qkv": "attn_qkv",
    "linear_attn.in_proj_z": "attn_gate",
    "linear_attn.in_proj_b": "ssm_beta",
    "linear_attn.in_proj_a": "ssm_alpha",
    "linear_attn.conv1d": "ssm_conv1d",
    "linear_attn.norm": "ssm_norm",
    "linear_attn.out_proj": "ssm_out",
  },
  own: { "linear_attn.A_log": "ssm_a", "linear_attn.dt_bias": "ssm_dt.bias" },
  metadata,
  config,
  rewrite,
};
