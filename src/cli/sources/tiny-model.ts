import { f32ToBf16 } from "../../io/dtype.ts";
import { bytesOf, encodeSafetensors, type TensorData } from "../../io/safetensors.ts";
import type { Folder } from "../../io/storage.ts";
import type { PublishedShape } from "../../model/architectures/published.ts";
import { tensorsOf } from "../../model/architectures/tensors.ts";
import { type ModelConfig, parseModelConfig } from "../../model/config.ts";
import { mixSeed, uniformFrom } from "../../train/seed.ts";

const LAYERS = 2;
const HEAD_DIM = 16;
/** The embedded model's standard deviation, large enough that the model's output is not uniform. */
const INITIALIZER_RANGE = 0.08;
/** The tokenizer files to copy. */
const TOKENIZER = ["tokenizer.json", "tokenizer_config.json", "generation_config.json"];

/**
 * A model's shape reduced to two layers and heads of 16 numbers. The ratio of query heads to key heads, the architecture,
 * biases and tied embeddings stay unchanged.
 *
 * @param vocab_size vocabulary size of the copied tokenizer
 */
export function tinyShape(shape: PublishedShape, vocab_size: number): PublishedShape {
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
  const tensors = [...tensorsOf(config).values()].map(({ name, shape: size, role }, i): TensorData => {
    const draw = uniformFrom(mixSeed(1, i));
    const count = size.reduce((a, b) => a * b, 1);
    const norm = role === "norm";
    const width = norm ? 0.1 : INITIALIZER_RANGE * Math.sqrt(12); // uniform numbers with that standard deviation
    const values = Float32Array.from({ length: count }, () => (norm ? 1 : 0) + width * (draw() - 0.5));
    return { name, shape: size, dtype: "BF16", data: bytesOf(f32ToBf16(values)) };
  });
  await folder.write("model.safetensors", encodeSafetensors(tensors, { format: "pt" }));
  for (const file of TOKENIZER) await folder.write(file, await tokenizer.readText(file));
  await folder.write("config.json", JSON.stringify(tiny, null, 2));
  return config;
}
