import type { Folder } from "../src/io/storage.ts";
import { type CheckpointSpec, configOf, writeRandomCheckpoint } from "./random-checkpoint.ts";
import { tinyTokenizer } from "./tiny-files.ts";

/** Words of the chat template, which are a token each; all else is bytes, so that a digit is a token. */
const WORDS = ["user", "assistant"];
/** Every byte, the words' parts, and the six special tokens. */
const MOST_TOKENS = 256 + 16 + 6;

/** A Qwen3.5 with a tower: a delta net and gated attention, and two blocks over patches of 8 × 8 pixels. */
const specOf = (vocab_size: number): CheckpointSpec => ({
  model_type: "qwen3_5",
  vocab_size,
  hidden_size: 96,
  intermediate_size: 192,
  num_hidden_layers: 2,
  full_attention_interval: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 24,
  linear_num_key_heads: 2,
  linear_num_value_heads: 4,
  linear_key_head_dim: 24,
  linear_value_head_dim: 24,
  partial_rotary_factor: 0.5,
  tie_word_embeddings: true,
  max_position_embeddings: 256,
  initializer_range: 0.08,
  vision: {
    depth: 2,
    hidden_size: 96,
    intermediate_size: 192,
    num_heads: 4,
    patch_size: 8,
    num_position_embeddings: 64,
    image_token_id: vocab_size - 1,
  },
});

const json = (value: unknown) => `${JSON.stringify(value, null, 1)}\n`;

/**
 * Writes a tiny Qwen3.5 that sees, with random weights, its tokenizer of bytes and of the chat template's words, and a processor that leaves images of up to 64 × 128
 * pixels at about their size.
 *
 * @returns bytes of the weights, in bf16
 */
export async function writeTinyVision(folder: Folder, seed: number): Promise<number> {
  const { vocab_size, files } = tinyTokenizer(WORDS, MOST_TOKENS, 1, true);
  const spec = specOf(vocab_size);
  const bytes = await writeRandomCheckpoint(folder, spec, seed);
  const size = { shortest_edge: 16 * 16, longest_edge: 64 * 128 };
  const config = configOf(spec);
  const text = config.text_config as Record<string, unknown>;
  const rope = { ...(text.rope_parameters as object), mrope_section: [2, 2, 2] };
  const own = {
    ...files,
    "config.json": json({ ...config, text_config: { ...text, rope_parameters: rope, eos_token_id: vocab_size - 4 } }),
    "preprocessor_config.json": json({
      size,
      patch_size: 8,
      temporal_patch_size: 2,
      merge_size: 2,
      image_mean: [0.5, 0.5, 0.5],
      image_std: [0.5, 0.5, 0.5],
      image_processor_type: "Qwen2VLImageProcessorFast",
    }),
  };
  for (const [name, content] of Object.entries(own)) await folder.write(name, content);
  return bytes;
}
