import type { Architecture } from "./architecture.ts";
import { DECODER_GGUF_NAMES, DECODER_RULES, decoderLayer } from "./decoder.ts";
import { headSize } from "./qwen2.ts";

/** @see transformers, models/qwen3/modeling_qwen3.py; arXiv:2505.09388 */
export const qwen3: Architecture = {
  model_type: "qwen3",
  transformers: "Qwen3ForCausalLM",
  about: "dense Qwen3",
  rules: DECODER_RULES,
  head_dim: 128,
  layer: (config, index) => {
    const { attention_bias: bias } = config;
    return decoderLayer(config, index, { biases: { qkv: bias, o: bias }, headNorms: true });
  },
  gguf: {
    architecture: "qwen3",
    names: DECODER_GGUF_NAMES,
    metadata: ({ head_dim }) => headSize(head_dim),
  },
};
