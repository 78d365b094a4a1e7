import type { Architecture } from "./architecture.ts";
import { DECODER_GGUF_NAMES, DECODER_RULES, decoderLayer } from "./decoder.ts";

/** @see transformers, models/qwen2/modeling_qwen2.py; arXiv:2407.10671 */
export const qwen2: Architecture = {
  model_type: "qwen2",
  transformers: "Qwen2ForCausalLM",
  about: "Qwen2, Qwen2.5, their Coder and R1-Distill checkpoints",
  rules: DECODER_RULES,
  head_dim: null,
  layer: (config, index) => decoderLayer(config, index, { biases: { qkv: true, o: false }, headNorms: false }),
  gguf: {
    architecture: "qwen2",
    names: DECODER_GGUF_NAMES,
    // llama.cpp needs it unless it is hidden / heads
    metadata: ({ head_dim }, json) => (typeof json.head_dim === "number" ? headSize(head_dim) : []),
  },
};

/** llama.cpp's fields for the size of a head. */
export function headSize(head_dim: number): [string, { type: "u32"; value: number }][] {
  return ["attention.key_length", "attention.value_length"].map((key) => [key, { type: "u32", value: head_dim }]);
}
