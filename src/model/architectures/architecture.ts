import type { GgufValue } from "../../io/gguf/gguf.ts";
import type { AttentionHeads } from "../../kernels/attention/attention.ts";
import type { DeltaHeads } from "../../kernels/delta/heads.ts";
import type { GeluKind } from "../../kernels/mlp/gelu.ts";

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
  /** number of elements of a head that rotary embeddings rotate: the first ones, an even number; head_dim in most models */
  rotary_dim: number;
  rope_scaling: YarnScaling | null;
  tie_word_embeddings: boolean;
  /** whether the attention projections have biases, if the architecture leaves this open */
  attention_bias: boolean;
  /** type of each layer; null: attention in all layers */
  layer_types: readonly LayerType[] | null;
  /** heads of the layers of type linear_attention; null: there are none */
  delta: DeltaHeads | null;
  /** how many rotary frequencies turn by a token's time, height and width; null: positions have one axis */
  mrope_section: readonly number[] | null;
  /** null: the model sees no images */
  vision: VisionConfig | null;
}

/** The fields of `vision_config` that Qwench needs, under the same names. */
export interface VisionConfig {
  depth: number;
  hidden_size: number;
  intermediate_size: number;
  num_heads: number;
  in_channels: number;
  /** pixels of a patch's side */
  patch_size: number;
  /** frames of a patch; an image is repeated */
  temporal_patch_size: number;
  /** patches of a merged patch's side: each becomes one token */
  spatial_merge_size: number;
  /** a square number: learned positions of a square grid */
  num_position_embeddings: number;
  /** hidden_size of the language model */
  out_hidden_size: number;
  rope_theta: number;
  /** of config.json: the token that stands for a merged patch */
  image_token_id: number;
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
  /** a LayerNorm with a bias `{prefix}.{module}.bias`; default: an RMSNorm */
  bias?: boolean;
}

/** A tensor of a block that belongs to no linear layer and no norm: `{prefix}.{name}`. */
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
  /** q_proj gives each query head and its gate side by side; the head's output is multiplied by the gate's sigmoid */
  gate: boolean;
  /** linear layers by the input that they read; those of a group are computed together */
  groups: { qkv: readonly Projection[]; o: readonly Projection[] };
}

/** `down(silu(gate(x)) · up(x))`. */
export interface SwigluSpec extends BranchSpec {
  kind: "swiglu";
  groups: { gate_up: readonly Projection[]; down: readonly Projection[] };
}

/** A short convolution over queries, keys and values, then the gated delta rule. */
export interface GatedDeltaNetSpec extends BranchSpec {
  kind: "gatedDeltaNet";
  heads: DeltaHeads;
  /** filters of the convolution; A_log and dt_bias of the decays */
  own: { conv: OwnTensor; rate: OwnTensor; shift: OwnTensor };
  /** norm of each head's output, before its gate */
  norm: NormSpec;
  groups: { qkvz: readonly Projection[]; ba: readonly Projection[]; out: readonly Projection[] };
}

/** `down(gelu(up(x)))`. */
export interface GeluSpec extends BranchSpec {
  kind: "gelu";
  activation: GeluKind;
  groups: { up: readonly Projection[]; down: readonly Projection[] };
}

export type SublayerSpec = AttentionSpec | SwigluSpec | GatedDeltaNetSpec | GeluSpec;

/** A vision tower: patches, their learned positions, blocks, and the merger into tokens. */
export interface TowerSpec {
  /** prefix of all its tensors: `model.visual` */
  prefix: string;
  /** epsilon of its norms */
  eps: number;
  /** the convolution whose stride is its size: a linear map of each patch; and the shape of its weight in files */
  patch: { projection: Projection; shape: readonly number[] };
  /** name of the table of learned positions, after the prefix, and the side of their square grid */
  positions: string;
  grid: number;
  layers: readonly LayerSpec[];
  /** norms every patch, then maps the patches of each block to a token */
  merger: GeluSpec;
}

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

/** Reads a GGUF file's metadata, by a key without the architecture's prefix. */
export type GgufMeta = (key: string) => unknown;

/** How llama.cpp's converter rewrites a tensor. */
export interface GgufRewrite {
  /** the shape in the file, of as many elements; absent: the checkpoint's */
  shape?: readonly number[];
  /** stored in F32 whatever the file's type */
  exact?: boolean;
  /** of each value, into the file and back */
  value?: { to(value: number): number; from(value: number): number };
  /**
   * In each `line` elements, those from `first` on are blocks of `unit` that lie group by group in a checkpoint, and in a file in
   * turn: the first of each group, then the second of each
   */
  order?: { unit: number; first: number; line: number; groups: number };
}

/** llama.cpp's name of the architecture, and its metadata. */
export interface GgufSpec {
  architecture: string;
  /** names of a layer's modules: `self_attn.q_proj` → `attn_q` */
  names: Readonly<Record<string, string>>;
  /** names of a layer's tensors that are no module's weight or bias */
  own?: Readonly<Record<string, string>>;
  /** metadata beyond the fields of every architecture, without the architecture's prefix */
  metadata(config: ModelConfig, json: Record<string, unknown>): [string, GgufValue][];
  /** the fields of config.json that `metadata` holds; absent: those of every architecture, whose model_type is llama.cpp's name */
  config?(of: GgufMeta): Record<string, unknown>;
  /** absent or null: the checkpoint's values in the checkpoint's order */
  rewrite?(config: ModelConfig, name: string): GgufRewrite | null;
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
  /** name of the language model within the published model (`model.{part}.layers.0`); absent: the checkpoint is the language model */
  part?: string;
  /** model_type of the language model without the other parts */
  alone?: string;
  /** field of config.json that holds the language model's fields; absent: config.json itself */
  nested?: string;
  /** parts of a checkpoint that Qwench ignores: the prefix of their names, and a note for the user */
  passedOver?: readonly { prefix: string; note?: string }[];
  /** further fields of config.json that need no note */
  known?: readonly string[];
  /** the norms of the residual stream and of heads scale by 1 + weight */
  zeroCentered?: boolean;
  /** Reads the fields that only this architecture has. @param size reads a positive integer */
  fields?(
    json: Readonly<Record<string, unknown>>,
    size: (name: string, fallback?: number) => number,
  ): Partial<Pick<ModelConfig, "layer_types" | "delta">>;
  /** default share of a head that rotary embeddings rotate; absent: always the whole head */
  partial_rotary_factor?: number;
  /** default mrope_section; absent: positions have one axis */
  mrope_section?: readonly number[];
  /** Reads the tower's sizes from the whole config.json; null: the checkpoint has none. Absent: the architecture has none */
  vision?(json: Readonly<Record<string, unknown>>, file: string): VisionConfig | null;
  tower?(config: VisionConfig): TowerSpec;
  layer(config: ModelConfig, index: number): LayerSpec;
  /** null: llama.cpp does not implement this architecture */
  gguf: GgufSpec | null;
}
