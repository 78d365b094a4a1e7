import { modulesOf } from "../src/model/architectures/tensors.ts";
import { type ModelConfig, parseModelConfig } from "../src/model/config.ts";

/** The fields of Qwen2.5-0.5B's config.json that determine shapes. */
const QWEN25_05B = {
  model_type: "qwen2",
  hidden_size: 896,
  intermediate_size: 4864,
  num_hidden_layers: 24,
  num_attention_heads: 14,
  num_key_value_heads: 2,
  vocab_size: 151936,
  max_position_embeddings: 32768,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000,
  tie_word_embeddings: true,
};

/** The fields of Qwen3-0.6B's config.json that determine shapes. */
const QWEN3_06B = {
  ...QWEN25_05B,
  model_type: "qwen3",
  hidden_size: 1024,
  intermediate_size: 3072,
  num_hidden_layers: 28,
  num_attention_heads: 16,
  num_key_value_heads: 8,
  head_dim: 128,
  max_position_embeddings: 40960,
};

/** The fields of Qwen3.5-0.8B's text_config that determine shapes. */
const QWEN35_08B = {
  model_type: "qwen3_5_text",
  hidden_size: 1024,
  intermediate_size: 3584,
  num_hidden_layers: 24,
  num_attention_heads: 8,
  num_key_value_heads: 2,
  head_dim: 256,
  linear_num_key_heads: 16,
  linear_num_value_heads: 16,
  linear_key_head_dim: 128,
  linear_value_head_dim: 128,
  vocab_size: 248320,
  max_position_embeddings: 262144,
  rms_norm_eps: 1e-6,
  rope_parameters: { rope_type: "default", rope_theta: 1e7, partial_rotary_factor: 0.25, mrope_section: [11, 11, 10] },
  tie_word_embeddings: true,
};

/** Qwen3.5-0.8B; `layers` makes a smaller model of the same shapes, in which every fourth layer has full attention. */
export function qwen35Model(layers = QWEN35_08B.num_hidden_layers): ModelConfig {
  return parseModelConfig({ ...QWEN35_08B, num_hidden_layers: layers }, "Qwen3.5-0.8B");
}

/** A quarter of Qwen3.5-0.8B's width: 8192 tokens fit a binding of 128 MiB. */
const QUARTER = {
  hidden_size: 256,
  intermediate_size: 896,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  linear_num_key_heads: 4,
  linear_num_value_heads: 4,
};

/** Layers of one type of Qwen3.5-0.8B, with a small vocabulary, so that the head hides nothing. */
export function qwen35Layers(
  type: "linear_attention" | "full_attention",
  layers: number,
  narrow: boolean = false,
): ModelConfig {
  const layer_types = new Array<string>(layers).fill(type);
  const small = {
    ...(narrow && QUARTER),
    num_hidden_layers: layers,
    layer_types,
    vocab_size: 4096,
  };
  return parseModelConfig({ ...QWEN35_08B, ...small }, "Qwen3.5-0.8B");
}

/** Qwen3-0.6B; `layers` and `vocab` make a smaller one of the same shapes. */
export function qwen3Model(layers = QWEN3_06B.num_hidden_layers, vocab = QWEN3_06B.vocab_size): ModelConfig {
  return parseModelConfig({ ...QWEN3_06B, num_hidden_layers: layers, vocab_size: vocab }, "Qwen3-0.6B");
}

/** Shapes for which kernels are inspected: Qwen2.5-0.5B's, Qwen3-0.6B's, Qwen2.5-1.5B's and Qwen3.5-0.8B's. */
export function publishedModels(): ModelConfig[] {
  const large = { hidden_size: 1536, intermediate_size: 8960, num_hidden_layers: 28, num_attention_heads: 12 };
  return [benchModel(), qwen3Model(), parseModelConfig({ ...QWEN25_05B, ...large }, "Qwen2.5-1.5B"), qwen35Model()];
}

/** The model of the published figures. `layers` and `vocab` make a smaller model of the same shapes. */
export function benchModel(layers = QWEN25_05B.num_hidden_layers, vocab = QWEN25_05B.vocab_size): ModelConfig {
  return parseModelConfig({ ...QWEN25_05B, num_hidden_layers: layers, vocab_size: vocab }, "Qwen2.5-0.5B");
}

/** Entries of one layer's frozen weights, and of its low-rank pairs. */
function layerEntries(config: ModelConfig, rank: number): { frozen: number; lowRank: number } {
  let [frozen, lowRank] = [0, 0];
  for (const { layer, out, inner } of modulesOf(config)) {
    if (layer > 0) break;
    frozen += out * inner;
    lowRank += rank * (out + inner);
  }
  return { frozen, lowRank };
}

/**
 * Floating-point operations of a LoRA training step. Recomputation in the backward pass, norms, activations and the optimizer
 * do not count.
 *
 *   2·P·T  forward, 2·P·T  gradients of inputs          P: entries of the linear layers' frozen weights, T: tokens
 * + 6·L·T  forward, inputs, weights of the low-rank pairs   L: their entries
 * + 4·V·H·R  logits and gradient of the hidden rows      R: rows with a label
 * + 3.5·(2·T²·Q·D)/S  per layer: 2 products forward and 5 back, the causal half of each   Q heads of D, S sequences
 */
export function modelFlops(
  config: ModelConfig,
  tokens: number,
  labelled: number,
  rank: number,
  sequences: number = 1,
): number {
  const { frozen, lowRank } = layerEntries(config, rank);
  const attention = (3.5 * 2 * tokens ** 2 * config.num_attention_heads * config.head_dim) / sequences;
  const layer = 4 * frozen * tokens + 6 * lowRank * tokens + attention;
  return config.num_hidden_layers * layer + 4 * config.vocab_size * config.hidden_size * labelled;
}

/**
 * Floating-point operations of one decoded token: 2 for each entry of the linear layers and of the output table. Norms,
 * attention and sampling do not count.
 */
export function tokenFlops(config: ModelConfig, rank: number = 0): number {
  const { frozen, lowRank } = layerEntries(config, rank);
  return 2 * (config.num_hidden_layers * (frozen + lowRank) + config.vocab_size * config.hidden_size);
}
