import { type ModelConfig, parseModelConfig } from "../src/model/config.ts";

/** Qwen2.5-0.5B's config.json, as far as shapes go. */
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

/** The model that figures are stated for; `layers` makes a shallower one of the same shapes. */
export function benchModel(layers = QWEN25_05B.num_hidden_layers): ModelConfig {
  return parseModelConfig({ ...QWEN25_05B, num_hidden_layers: layers }, "Qwen2.5-0.5B");
}
