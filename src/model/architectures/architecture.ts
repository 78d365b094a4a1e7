import type { GgufValue } from "../../io/gguf/gguf.ts";
import type { AttentionHeads } from "../../kernels/attention/attention.ts";

/** The fields of a checkpoint's config.json that Qwench needs, under the same names. */
export interface ModelConfig {
  /** names the architecture */
  model_type: string;
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  /** elements of a head; default: hidden_size / num_attention_heads */
  head_dim: number;
  vocab_size: number;
  max_position_embeddings: number;
  rms_norm_eps: number;
  rope_theta: number;
  rope_scaling: YarnScaling | null;
  tie_word_embeddings: boolean;
  /** whether the attention projections have biases, if the architecture leaves this open */
  attention_bias: boolean;
}

/** `rope_scaling` of type yarn, with transformers' defaults filled in. Peng et al. 2023, arXiv:2309.00071 */
export interface YarnScaling {
  factor: number;
  original_max_position_embeddings: number;
  beta_fast: number;
  beta_slow: number;
  attention_factor: number;
  truncate: boolean;
}

/** A linear layer of a block. */
export interface Projection {
  /** what PEFT's `target_modules` calls it */
  name: string;
  /** its name in a checkpoint, after the layer's prefix: `self_attn.q_proj` */
  module: string;
  out: number;
  inner: number;
  bias: boolean;
}

/** An RMSNorm of a block: its scale `[size]` is `{prefix}.{module}.weight`. */
export interface NormSpec {
  module: string;
  size: number;
}

/** Fields of every kind of residual branch: `x + post(body(pre(x)))`. */
interface BranchSpec {
  /** norm of the body's input; null: none */
  pre: NormSpec | null;
  /** norm of the body's output, before it is added; null: none */
  post: NormSpec | null;
}

/** Softmax attention with grouped queries and rotary positions. */
export interface AttentionSpec extends BranchSpec {
  kind: "attention";
  heads: AttentionHeads;
  /** norms of each query and key head before they are rotated */
  norms: { q: NormSpec; k: NormSpec } | null;
  /** linear layers grouped by the input that they read; each group is computed together */
  groups: { qkv: readonly Projection[]; o: readonly Projection[] };
}

/** `down(silu(gate(x)) · up(x))`. */
export interface SwigluSpec extends BranchSpec {
  kind: "swiglu";
  groups: { gate_up: readonly Projection[]; down: readonly Projection[] };
}

export type SublayerSpec = AttentionSpec | SwigluSpec;

/** A decoder block: residual branches, one after the other. */
export interface LayerSpec {
  /** prefix of all its tensors: `model.layers.3` */
  prefix: string;
  sublayers: readonly SublayerSpec[];
}

/** A field of config.json that is allowed only with values that change nothing. */
export interface ConfigRule {
  field: string;
  allowed(value: unknown, json: Readonly<Record<string, unknown>>): boolean;
  /** completes "it must be …" in an error */
  rule: string;
}

/** llama.cpp's name of the architecture, and its metadata. */
export interface GgufSpec {
  architecture: string;
  /** names of a layer's modules: `self_attn.q_proj` → `attn_q` */
  names: Readonly<Record<string, string>>;
  /** metadata beyond the fields of every architecture, without the architecture's prefix */
  metadata(config: ModelConfig, json: Record<string, unknown>): [string, GgufValue][];
}

/**
 * An architecture as data. Building, loading, training, generating, merging, saving, GGUF, forecasts, tuning and random
 * checkpoints read it; none of them depends on the name of a model.
 */
export interface Architecture {
  /** as in config.json */
  model_type: string;
  /** transformers' class for it */
  transformers: string;
  /** the checkpoints that it covers, in a few words */
  about: string;
  rules: readonly ConfigRule[];
  /** head_dim if config.json has none; null: hidden_size / num_attention_heads */
  head_dim: number | null;
  layer(config: ModelConfig, index: number): LayerSpec;
  /** null: llama.cpp does not implement the architecture */
  gguf: GgufSpec | null;
}
