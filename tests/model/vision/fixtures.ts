/** The config.json of a tiny Qwen3.5 with a tiny tower: 2 blocks of 3 heads of 16 over patches of 8 × 8. */
export function visionConfig(): Record<string, unknown> {
  return {
    architectures: ["Qwen3_5ForConditionalGeneration"],
    model_type: "qwen3_5",
    image_token_id: 416,
    tie_word_embeddings: true,
    text_config: {
      model_type: "qwen3_5_text",
      hidden_size: 64,
      intermediate_size: 144,
      num_hidden_layers: 2,
      layer_types: ["linear_attention", "full_attention"],
      num_attention_heads: 4,
      num_key_value_heads: 2,
      head_dim: 32,
      linear_num_key_heads: 2,
      linear_num_value_heads: 4,
      linear_key_head_dim: 16,
      linear_value_head_dim: 16,
      vocab_size: 419,
      max_position_embeddings: 1024,
      rope_parameters: {
        rope_type: "default",
        rope_theta: 1e7,
        partial_rotary_factor: 0.5,
        mrope_interleaved: true,
        mrope_section: [3, 3, 2],
      },
    },
    vision_config: {
      model_type: "qwen3_5_vision",
      depth: 2,
      hidden_size: 48,
      hidden_act: "gelu_pytorch_tanh",
      intermediate_size: 96,
      num_heads: 3,
      num_position_embeddings: 36,
      out_hidden_size: 64,
      patch_size: 8,
    },
  };
}
