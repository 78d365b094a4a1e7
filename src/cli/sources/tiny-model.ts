import { f32ToBf16 } from "../../io/dtype.ts";
import { bytesOf, encodeSafetensors, type TensorData } from "../../io/safetensors.ts";
import type { Folder } from "../../io/storage.ts";
import type { PublishedShape } from "../../model/architectures/published.ts";
import { publishedName, tensorsOf, towerOf } from "../../model/architectures/tensors.ts";
import { type ModelConfig, parseModelConfig } from "../../model/config.ts";
import { mixSeed, uniformFrom } from "../../train/seed.ts";

const LAYERS = 2;
const HEAD_DIM = 16;
/** The embedded model's standard deviation, large enough that the model's output is not uniform. */
const INITIALIZER_RANGE = 0.08;
/** The tokenizer files to copy. */
const TOKENIZER = ["tokenizer.json", "tokenizer_config.json", "generation_config.json"];

/** Tokens around and for an image, after the copied tokenizer's. */
const IMAGE_TOKENS = ["<|vision_start|>", "<|image_pad|>", "<|vision_end|>"];
const TINY_TOWER = {
  depth: 1,
  hidden_size: 2 * HEAD_DIM,
  intermediate_size: 4 * HEAD_DIM,
  num_heads: 2,
  num_position_embeddings: 16,
  patch_size: 16,
};
/** Of the default processor, but with small images left as they are. */
const PROCESSOR = {
  image_processor_type: "Qwen2VLImageProcessor",
  size: { shortest_edge: 1024, longest_edge: 65_536 },
};
const SEEING_TEMPLATE =
  "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}{% if part.type == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/**
 * A model's shape reduced to two layers and heads of 16 numbers. The ratio of query heads to key heads, the architecture,
 * biases and tied embeddings stay unchanged.
 *
 * @param vocab_size vocabulary size of the copied tokenizer
 */
export function tinyShape(shape: PublishedShape, vocab_size: number): PublishedShape {
  if (shape.vision_config) {
    const text_config = tinyShape(shape.text_config as PublishedShape, vocab_size + IMAGE_TOKENS.length);
    const vision_config = { ...TINY_TOWER, out_hidden_size: text_config.hidden_size };
    return { ...shape, image_token_id: vocab_size + 1, text_config, vision_config };
  }
  const { num_attention_heads, num_key_value_heads } = parseModelConfig({ ...shape });
  const heads = num_attention_heads / num_key_value_heads;
  return {
    ...shape,
    hidden_size: heads * HEAD_DIM,
    intermediate_size: 2 * heads * HEAD_DIM,
    num_hidden_layers: LAYERS,
    num_attention_heads: heads,
    num_key_value_heads: 1,
    ...(shape.head_dim === undefined ? {} : { head_dim: HEAD_DIM }),
    vocab_size,
  };
}

/**
 * Writes a reduced model with reproducible random bf16 weights and another model's tokenizer.
 *
 * @param tokenizer folder of the model whose tokenizer and vocabulary size it gets
 */
export async function writeTinyModel(folder: Folder, shape: PublishedShape, tokenizer: Folder): Promise<ModelConfig> {
  const { vocab_size } = JSON.parse(await tokenizer.readText("config.json"));
  const tiny = tinyShape(shape, vocab_size);
  const config = parseModelConfig({ ...tiny });
  const all = [...tensorsOf(config).values(), ...(towerOf(config)?.tensors.values() ?? [])];
  const tensors = all.map(({ name, shape: size, role }, i): TensorData => {
    const draw = uniformFrom(mixSeed(1, i));
    const count = size.reduce((a, b) => a * b, 1);
    const norm = role === "norm";
    const width = norm ? 0.1 : INITIALIZER_RANGE * Math.sqrt(12); // uniform numbers with that standard deviation
    const values = Float32Array.from({ length: count }, () => (norm ? 1 : 0) + width * (draw() - 0.5));
    return { name: publishedName(config, name), shape: size, dtype: "BF16", data: bytesOf(f32ToBf16(values)) };
  });
  await folder.write("model.safetensors", encodeSafetensors(tensors, { format: "pt" }));
  for (const file of TOKENIZER) await folder.write(file, await tokenizer.readText(file));
  if (config.vision) await addImages(folder, vocab_size);
  await folder.write("config.json", JSON.stringify(tiny, null, 2));
  return config;
}

/** Adds the tokens of images, a template that writes them, and the processor. @param first id of the first token */
async function addImages(folder: Folder, first: number): Promise<void> {
  const read = async (name: string) => JSON.parse(await folder.readText(name));
  const tokenizer = await read("tokenizer.json");
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  tokenizer.added_tokens.push(...IMAGE_TOKENS.map((content, i) => ({ id: first + i, content, ...flags })));
  await folder.write("tokenizer.json", JSON.stringify(tokenizer));
  const settings = { ...(await read("tokenizer_config.json")), chat_template: SEEING_TEMPLATE };
  await folder.write("tokenizer_config.json", JSON.stringify(settings));
  await folder.write("preprocessor_config.json", JSON.stringify(PROCESSOR));
}
