/** Two delta nets and gated attention between them, value heads over fewer key heads, rotary on half a head. */
export const QWEN35 = {
  model_type: "qwen3_5_text",
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  linear_num_key_heads: 1,
  linear_num_value_heads: 2,
  linear_key_head_dim: 8,
  linear_value_head_dim: 8,
  full_attention_interval: 2,
  partial_rotary_factor: 0.5,
  vocab_size: 256,
  tie_word_embeddings: true,
  max_position_embeddings: 256,
  initializer_range: 0.2,
};

const DELTA = ["in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj"];

/** Every linear layer of it. */
export const QWEN35_LINEARS = [...DELTA, "gate_proj", "up_proj", "down_proj", "q_proj", "k_proj", "v_proj", "o_proj"];
