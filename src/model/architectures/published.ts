/** The fields of a checkpoint's config.json that decide shapes. */
export type PublishedShape = Readonly<Record<string, unknown>>;

const qwen2 = (hidden: number, intermediate: number, layers: number, heads: number): PublishedShape => ({
  model_type: "qwen2",
  hidden_size: hidden,
  intermediate_size: intermediate,
  num_hidden_layers: layers,
  num_attention_heads: heads,
  num_key_value_heads: 2,
  vocab_size: 151_936,
  max_position_embeddings: 32_768,
  rms_norm_eps: 1e-6,
  rope_theta: 1_000_000,
  tie_word_embeddings: true,
});

/** The language model without its vision tower: see {@link seeingShape}. */
const qwen35 = (
  hidden: number,
  intermediate: number,
  layers: number,
  heads: number,
  values: number,
): PublishedShape => ({
  model_type: "qwen3_5_text",
  hidden_size: hidden,
  intermediate_size: intermediate,
  num_hidden_layers: layers,
  num_attention_heads: heads,
  num_key_value_heads: heads / 4,
  head_dim: 256,
  linear_num_key_heads: 16,
  linear_num_value_heads: values,
  linear_key_head_dim: 128,
  linear_value_head_dim: 128,
  vocab_size: 248_320,
  max_position_embeddings: 262_144,
  rms_norm_eps: 1e-6,
  rope_parameters: { rope_type: "default", rope_theta: 10_000_000, partial_rotary_factor: 0.25 },
  tie_word_embeddings: true,
});

const SHAPES: Readonly<Record<string, PublishedShape>> = {
  "qwen2-0.5b": qwen2(896, 4864, 24, 14),
  "qwen2.5-0.5b": qwen2(896, 4864, 24, 14),
  "qwen2.5-1.5b": qwen2(1536, 8960, 28, 12),
  "qwen2.5-3b": qwen2(2048, 11_008, 36, 16),
  "qwen3.5-0.8b": qwen35(1024, 3584, 24, 8, 16),
  "qwen3.5-2b": qwen35(2048, 6144, 24, 8, 16),
  "qwen3.5-4b": qwen35(2560, 9216, 32, 16, 32),
  "deepseek-r1-distill-qwen-1.5b": {
    ...qwen2(1536, 8960, 28, 12),
    max_position_embeddings: 131_072,
    rope_theta: 10_000,
    tie_word_embeddings: false,
  },
};

const tower = (depth: number, hidden: number, out: number) => ({
  depth,
  hidden_size: hidden,
  intermediate_size: 4 * hidden,
  num_heads: hidden / 64,
  num_position_embeddings: 2304,
  out_hidden_size: out,
  patch_size: 16,
});

const TOWERS: Readonly<Record<string, ReturnType<typeof tower>>> = {
  "qwen3.5-0.8b": tower(12, 768, 1024),
  "qwen3.5-4b": tower(24, 1024, 2560),
};

/** The shape of a published model with its vision tower, in the layout of its config.json; null if the tower is unknown. */
export function seeingShape(id: string): PublishedShape | null {
  const [text, vision_config] = [publishedShape(id), TOWERS[keyOf(id)] ?? null];
  if (!text || !vision_config) return null;
  const { tie_word_embeddings } = text;
  return { model_type: "qwen3_5", image_token_id: 248_056, tie_word_embeddings, text_config: text, vision_config };
}

/**
 * The shape of a published model, by its hub id: a run can be forecast before anything is downloaded. Base, Coder and
 * Instruct checkpoints of one size have the same shape. Null if the id is unknown.
 */
export function publishedShape(id: string): PublishedShape | null {
  const name = keyOf(id);
  return Object.hasOwn(SHAPES, name) ? SHAPES[name] : null;
}

function keyOf(id: string): string {
  return id
    .toLowerCase()
    .replace(/^.*\//, "")
    .replace("-coder-", "-")
    .replace(/-(?:instruct|base)$/, "");
}
