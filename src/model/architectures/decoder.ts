import type {
  AttentionSpec,
  ConfigRule,
  LayerSpec,
  ModelConfig,
  NormSpec,
  Projection,
  SwigluSpec,
} from "./architecture.ts";

// What Qwen2 and Qwen3 have in common, and most decoders since Llama: pre-norm blocks of attention and a SwiGLU MLP.

/** The differences between decoders of this family. */
interface DecoderTraits {
  /** biases of q, k and v, and of o */
  biases: { qkv: boolean; o: boolean };
  /** RMSNorm of each query and key head */
  headNorms: boolean;
  /** a gate for each query head; default: none */
  gate?: boolean;
  /** norms scale by 1 + weight; default: by weight */
  zeroCentered?: boolean;
}

/** A block of attention and MLP, each with a norm before it. */
export function decoderLayer(config: ModelConfig, index: number, traits: DecoderTraits): LayerSpec {
  return { prefix: `model.layers.${index}`, sublayers: [attentionBranch(config, traits), swigluBranch(config)] };
}

export function attentionBranch(
  config: ModelConfig,
  { biases, headNorms, gate = false, zeroCentered = false }: DecoderTraits,
  norms: { pre: string | null; post: string | null } = { pre: "input_layernorm", post: null },
): AttentionSpec {
  const { hidden_size: hidden, num_attention_heads, num_key_value_heads, head_dim } = config;
  const [q, kv] = [num_attention_heads * head_dim, num_key_value_heads * head_dim];
  const linear = (name: string, out: number, inner: number, bias: boolean): Projection => {
    return { name, module: `self_attn.${name}`, out, inner, bias };
  };
  const of = (name: string): NormSpec => ({ module: `self_attn.${name}`, size: head_dim, zeroCentered });
  return {
    kind: "attention",
    pre: norms.pre === null ? null : { module: norms.pre, size: hidden, zeroCentered },
    post: norms.post === null ? null : { module: norms.post, size: hidden, zeroCentered },
    heads: { num_attention_heads, num_key_value_heads, head_dim },
    norms: headNorms ? { q: of("q_norm"), k: of("k_norm") } : null,
    gate,
    groups: {
      qkv: [
        linear("q_proj", gate ? 2 * q : q, hidden, biases.qkv),
        linear("k_proj", kv, hidden, biases.qkv),
        linear("v_proj", kv, hidden, biases.qkv),
      ],
      o: [linear("o_proj", hidden, q, biases.o)],
    },
  };
}

export function swigluBranch(
  { hidden_size: hidden, intermediate_size: inner }: ModelConfig,
  norms: { pre: string | null; post: string | null } = { pre: "post_attention_layernorm", post: null },
  zeroCentered = false,
): SwigluSpec {
  const linear = (name: string, out: number, into: number): Projection => {
    return { name, module: `mlp.${name}`, out, inner: into, bias: false };
  };
  return {
    kind: "swiglu",
    pre: norms.pre === null ? null : { module: norms.pre, size: hidden, zeroCentered },
    post: norms.post === null ? null : { module: norms.post, size: hidden, zeroCentered },
    groups: {
      gate_up: [linear("gate_proj", inner, hidden), linear("up_proj", inner, hidden)],
      down: [linear("down_proj", hidden, inner)],
    },
  };
}

/** bitsandbytes' 4-bit weights; files that lack tensors, or store them differently, fail when they are read. */
function isNf4(value: unknown): boolean {
  const { quant_method, load_in_4bit, bnb_4bit_quant_type } = value as Record<string, unknown>;
  return quant_method === "bitsandbytes" && load_in_4bit === true && bnb_4bit_quant_type === "nf4";
}

/** Whether every layer's attention window covers the longest sequence. @see transformers' Qwen2Config.__post_init__ */
function slidesNowhere(value: unknown, json: Readonly<Record<string, unknown>>): boolean {
  if (value === false) return true;
  const { sliding_window: window = 4096, max_window_layers = 28, num_hidden_layers, max_position_embeddings } = json;
  if (window === null || (window as number) >= (max_position_embeddings as number)) return true;
  if (Array.isArray(json.layer_types)) return json.layer_types.every((type) => type === "full_attention");
  return (max_window_layers as number) >= (num_hidden_layers as number);
}

/** Fields that Qwen2's and Qwen3's config.json may hold. */
export const DECODER_RULES: readonly ConfigRule[] = [
  { field: "hidden_act", allowed: (v) => v === "silu", rule: '"silu"' },
  {
    field: "use_sliding_window",
    allowed: slidesNowhere,
    rule: "false, unless the window covers max_position_embeddings",
  },
  { field: "attention_dropout", allowed: (v) => v === 0, rule: "0" },
  {
    field: "quantization_config",
    allowed: isNf4,
    rule: 'absent, or bitsandbytes with load_in_4bit and bnb_4bit_quant_type "nf4"',
  },
  { field: "num_experts", allowed: (v) => v === 0, rule: "absent: mixture-of-experts models are not implemented" },
  {
    field: "layer_types",
    allowed: (v) => Array.isArray(v) && v.every((type) => type === "full_attention"),
    rule: 'all "full_attention"',
  },
  { field: "mlp_bias", allowed: (v) => v === false, rule: "false" },
  { field: "partial_rotary_factor", allowed: (v) => v === 1, rule: "1" },
];

/** llama.cpp's names of this family's modules. */
export const DECODER_GGUF_NAMES: Readonly<Record<string, string>> = {
  input_layernorm: "attn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "self_attn.q_norm": "attn_q_norm",
  "self_attn.k_norm": "attn_k_norm",
  post_attention_layernorm: "ffn_norm",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
};
