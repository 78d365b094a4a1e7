import type { GgufValue } from "../../io/gguf/gguf.ts";
import type { AttentionHeads } from "../../kernels/attention/attention.ts";
import type { DeltaHeads } from "../../kernels/delta/heads.ts";

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
  /** elements of a head that positions turn: the first, an even number; head_dim in most models */
  rotary_dim: number;
  rope_scaling: YarnScaling | null;
  tie_word_embeddings: boolean;
  /** whether the attention projections have biases, if the architecture leaves this open */
  attention_bias: boolean;
  /** what mixes tokens in each layer; null: attention in all */
  layer_types: readonly LayerType[] | null;
  /** of layers of type linear_attention; null: there are none */
  delta: DeltaHeads | null;
}

/** How a layer mixes tokens, as config.json's `layer_types` names it. */
export type LayerType = "full_attention" | "linear_attention";

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
  /** scales by 1 + weight */
  zeroCentered: boolean;
}

/** A tensor of a block that is neither a linear layer's nor a norm's: `{prefix}.{name}`. */
export interface OwnTensor {
  name: string;
  shape: readonly number[];
  role: "filter" | "rate" | "shift";
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
  /** q_proj gives a gate beside each query head, head by head, whose sigmoid the head's output is multiplied by */
  gate: boolean;
  /** linear layers by the input that they read; those of a group are computed together */
  groups: { qkv: readonly Projection[]; o: readonly Projection[] };
}

/** `down(silu(gate(x)) · up(x))`. */
export interface SwigluSpec extends BranchSpec {
  kind: "swiglu";
  groups: { gate_up: readonly Projection[]; down: readonly Projection[] };
}

/** The gated delta rule over queries, keys and values that a short convolution has passed over. */
export interface GatedDeltaNetSpec extends BranchSpec {
  kind: "gatedDeltaNet";
  heads: DeltaHeads;
  /** filters of the convolution, A_log and dt_bias of the decays */
  own: { conv: OwnTensor; rate: OwnTensor; shift: OwnTensor };
  /** of each head's output, which a gate is then applied to */
  norm: NormSpec;
  groups: { qkvz: readonly Projection[]; ba: readonly Projection[]; out: readonly Projection[] };
}

export type SublayerSpec = AttentionSpec | SwigluSpec | GatedDeltaNetSpec;

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
  /** what the language model is called among the parts of the model that files hold: `model.{part}.layers.0`; absent: it is all of it */
  part?: string;
  /** model_type of the language model by itself, where it is a part */
  alone?: string;
  /** field of config.json that holds those of the language model; absent: config.json itself */
  nested?: string;
  /** parts of a checkpoint that are not read: what their names begin with, and what to tell the user; absent: nothing */
  passedOver?: readonly { prefix: string; note?: string }[];
  /** further fields of config.json that it knows, so that no note says it does not use them */
  known?: readonly string[];
  /** norms of the blocks and the last one scale by 1 + weight */
  zeroCentered?: boolean;
  /** fields that only this architecture has. @param size reads a positive integer */
  fields?(
    json: Readonly<Record<string, unknown>>,
    size: (name: string, fallback?: number) => number,
  ): Partial<Pick<ModelConfig, "layer_types" | "delta">>;
  /** share of a head that positions turn, where config.json does not say; absent: all, whatever it says */
  partial_rotary_factor?: number;
  layer(config: ModelConfig, index: number): LayerSpec;
  /** null: llama.cpp has no such architecture; text: why Qwench does not write it */
  gguf: GgufSpec | string | null;
}
