import { FormatError, UnsupportedError } from "../../errors.ts";
import { type Checkpoint, CONFIG_FILE } from "../../io/checkpoint.ts";
import { GGML_TYPES, type GgmlType, type GgufTensor, type GgufValue, ggmlBytes } from "../../io/gguf/gguf.ts";
import { dequantize, quantize } from "../../io/gguf/quant.ts";
import { type GgufEntry, type GgufFile, openGguf } from "../../io/gguf/read.ts";
import { bytesOf, DTYPE_BYTES, type Dtype, type TensorEntry, toFloat32 } from "../../io/safetensors.ts";
import type { Folder } from "../../io/storage.ts";
import type { GgufMeta, GgufRewrite, GgufSpec } from "../architectures/architecture.ts";
import { architectureOf, ggufArchitecture } from "../architectures/registry.ts";
import { EMBEDDING, FINAL_NORM, HEAD, layersOf, tensorsOf } from "../architectures/tensors.ts";
import { checkTensors } from "../build.ts";
import { type ModelConfig, parseModelConfig } from "../config.ts";
import { type MergedTensor, mergedBase, mergedTensors } from "./merge.ts";

/** The storage types for the weights of a GGUF file. */
export const GGUF_QUANTIZATIONS = ["f16", "bf16", "q8_0", "q4_0"] as const;
/** How a GGUF file stores weights. */
export type GgufQuantization = (typeof GGUF_QUANTIZATIONS)[number];

/** `general.file_type` of llama.cpp, and the type of most tensors. */
const FILE_TYPES: Record<GgufQuantization, { id: number; type: GgmlType }> = {
  f16: { id: 1, type: "F16" },
  bf16: { id: 32, type: "BF16" },
  q8_0: { id: 7, type: "Q8_0" },
  q4_0: { id: 2, type: "Q4_0" },
};
/** Version of ggml's block formats. */
const QUANTIZATION_VERSION = 2;

const OTHER_NAMES: Readonly<Record<string, string>> = {
  [EMBEDDING]: "token_embd.weight",
  [FINAL_NORM]: "output_norm.weight",
  [HEAD]: "output.weight",
};

/** @throws {UnsupportedError} an architecture that llama.cpp does not implement, or that Qwench does not write */
function ggufOf(config: ModelConfig): GgufSpec {
  const { gguf, model_type } = architectureOf(config);
  if (!gguf)
    throw new UnsupportedError(`Cannot write ${model_type} to GGUF: llama.cpp does not implement this architecture`);
  return gguf;
}

/** llama.cpp's name of a checkpoint's tensor: `blk.3.attn_q.bias` for `model.layers.3.self_attn.q_proj.bias`. */
export function ggufName(config: ModelConfig, name: string): string {
  const layer = layersOf(config).findIndex(({ prefix }) => name.startsWith(`${prefix}.`));
  if (layer < 0 && Object.hasOwn(OTHER_NAMES, name)) return OTHER_NAMES[name];
  const { prefix = "" } = layersOf(config)[layer] ?? {};
  const rest = name.slice(prefix.length + 1);
  const [, module, ending] = /^(.+)\.(weight|bias)$/.exec(rest) ?? [];
  const { names, own = {} } = ggufOf(config);
  if (layer >= 0 && Object.hasOwn(own, rest)) return `blk.${layer}.${own[rest]}`;
  if (layer < 0 || !Object.hasOwn(names, module)) throw new FormatError(`Cannot name the tensor ${name} in GGUF`);
  return `blk.${layer}.${names[module]}.${ending}`;
}

/**
 * Metadata of a model as llama.cpp's converter writes it, without the tokenizer's part.
 *
 * @param json config.json, from which `config` was parsed
 */
export function ggufMetadata(
  json: Record<string, unknown>,
  config: ModelConfig,
  { name, quantization }: { name: string; quantization: GgufQuantization },
): [string, GgufValue][] {
  const { architecture: arch, metadata } = ggufOf(config);
  const u32 = (key: string, value: number): [string, GgufValue] => [`${arch}.${key}`, { type: "u32", value }];
  const f32 = (key: string, value: number): [string, GgufValue] => [`${arch}.${key}`, { type: "f32", value }];
  const text = (key: string, value: string): [string, GgufValue] => [key, { type: "string", value }];
  const entries: [string, GgufValue][] = [
    text("general.architecture", arch),
    text("general.type", "model"),
    text("general.name", name),
    u32("block_count", config.num_hidden_layers),
    u32("context_length", config.max_position_embeddings),
    u32("embedding_length", config.hidden_size),
    u32("feed_forward_length", config.intermediate_size),
    u32("attention.head_count", config.num_attention_heads),
    u32("attention.head_count_kv", config.num_key_value_heads),
    ...yarnMetadata(json, config, arch, { text, u32, f32 }),
    f32("rope.freq_base", config.rope_theta),
    f32("attention.layer_norm_rms_epsilon", config.rms_norm_eps),
  ];
  for (const [key, value] of metadata(config, json)) entries.push([`${arch}.${key}`, value]);
  entries.push(
    ["general.file_type", { type: "u32", value: FILE_TYPES[quantization].id }],
    ["general.quantization_version", { type: "u32", value: QUANTIZATION_VERSION }],
  );
  return entries;
}

function yarnMetadata(
  json: Record<string, unknown>,
  { rope_scaling: yarn }: ModelConfig,
  arch: string,
  {
    text,
    u32,
    f32,
  }: Record<"text", (key: string, value: string) => [string, GgufValue]> &
    Record<"u32" | "f32", (key: string, value: number) => [string, GgufValue]>,
): [string, GgufValue][] {
  if (!yarn) return [];
  const given = (json.rope_parameters ?? json.rope_scaling) as Record<string, unknown>;
  if (given.truncate === false || given.mscale || given.mscale_all_dim) {
    throw new UnsupportedError(
      "Cannot write rope_scaling to GGUF: llama.cpp's qwen models have no truncate, mscale or mscale_all_dim",
    );
  }
  const entries = [
    text(`${arch}.rope.scaling.type`, "yarn"),
    f32("rope.scaling.factor", yarn.factor),
    u32("rope.scaling.original_context_length", yarn.original_max_position_embeddings),
  ];
  // as in the converter: only the fields that config.json has; llama.cpp's defaults equal YaRN's
  for (const [name, key] of Object.entries({
    attention_factor: "yarn_attn_factor",
    beta_fast: "yarn_beta_fast",
    beta_slow: "yarn_beta_slow",
  })) {
    if (typeof given[name] === "number") entries.push(f32(`rope.scaling.${key}`, given[name]));
  }
  return entries;
}

/**
 * How a tensor is stored: tensors of one dimension in F32; rows that are not a whole number of blocks in F16, the
 * fallback of llama.cpp's converter. In q4_0 files the output table is Q8_0: llama.cpp also gives it more bits.
 */
function ggufType(name: string, shape: readonly number[], config: ModelConfig, of: GgufQuantization): GgmlType {
  const { type } = FILE_TYPES[of];
  if (shape.length <= 1) return "F32";
  if (shape[shape.length - 1] % GGML_TYPES[type].block !== 0) return "F16";
  const head = config.tie_word_embeddings ? EMBEDDING : HEAD;
  return of === "q4_0" && name === head ? "Q8_0" : type;
}

/**
 * The tensors of a model with an adapter merged in, for {@link encodeGguf}: read, merged and quantised one piece at a
 * time. `output.weight` is absent if the embeddings are tied.
 *
 * @throws as mergedTensors
 * @throws {UnsupportedError} a value that the format cannot hold
 */
export async function ggufTensors(
  base: Checkpoint,
  adapter: Folder | null,
  quantization: GgufQuantization,
): Promise<GgufTensor[]> {
  const checkpoint = await mergedBase(base, adapter);
  const where = checkpoint.folder.path;
  const config = parseModelConfig(checkpoint.config, `${where}/${CONFIG_FILE}`);
  checkTensors(config, checkpoint.weights, where);
  const byName = new Map((await mergedTensors(checkpoint, adapter)).map((tensor) => [tensor.name, tensor]));
  const { rewrite } = ggufOf(config);
  return [...tensorsOf(config).keys()].map((name): GgufTensor => {
    const tensor = byName.get(name)!;
    const change = rewrite?.(config, name) ?? null;
    const shape = change?.shape ?? tensor.shape;
    const type = change?.exact ? "F32" : ggufType(name, shape, config, quantization);
    const data = async function* () {
      for await (const values of change ? rewritten(tensor, change) : tensor.rows()) {
        try {
          yield quantize(values, type);
        } catch (error) {
          throw error instanceof UnsupportedError ? new UnsupportedError(`${name}: ${error.message}`) : error;
        }
      }
    };
    return { name: ggufName(config, name), type, shape, data: data() };
  });
}

/** A tensor's values as llama.cpp wants them. A tensor whose values move is held whole. */
async function* rewritten({ shape, rows }: MergedTensor, change: GgufRewrite): AsyncGenerator<Float32Array> {
  const whole = change.order ? new Float32Array(shape.reduce((product, extent) => product * extent, 1)) : null;
  let at = 0;
  for await (const values of rows()) {
    const made = change.value ? values.map(change.value.to) : values;
    if (!whole) yield made;
    whole?.set(made, at);
    at += made.length;
  }
  if (whole) yield reorder(whole, change.order!, "to");
}

/** Blocks of a tensor in the file's order, or back in the checkpoint's. */
function reorder<T extends Float32Array | Uint16Array>(
  values: T,
  { unit, first, line, groups }: NonNullable<GgufRewrite["order"]>,
  direction: "to" | "from",
): T {
  const out = values.slice() as T;
  const each = (line - first) / unit / groups;
  for (let start = first; start < values.length; start += line) {
    for (let block = 0; block < groups * each; block++) {
      const own = start + block * unit;
      const there = start + ((block % each) * groups + Math.floor(block / each)) * unit;
      const [from, to] = direction === "to" ? [own, there] : [there, own];
      out.set(values.subarray(from, from + unit), to);
    }
  }
  return out;
}

/** Types whose bytes can be read without conversion. */
const PLAIN: Partial<Record<GgmlType, Dtype>> = { F32: "F32", F16: "F16", BF16: "BF16" };

/**
 * A GGUF file as a checkpoint that `loadModel` takes: blocks are dequantised on reading.
 *
 * @throws {FormatError} metadata or tensors are missing, or a tensor's shape differs from the metadata
 * @throws as openGguf
 */
export async function openGgufCheckpoint(folder: Folder, file: string): Promise<Checkpoint> {
  const gguf = await openGguf(await folder.open(file));
  const json = configOf(gguf);
  const config = parseModelConfig(json, gguf.source.name);
  const { rewrite } = ggufOf(config);
  const entries = new Map<string, Rewritten>();
  const tensors = new Map<string, TensorEntry>();
  let totalBytes = 0;
  for (const [name, spec] of tensorsOf(config)) {
    const entry = gguf.tensors.get(ggufName(config, name));
    if (!entry) continue; // checkTensors names it
    const dtype = PLAIN[entry.type] ?? "F32";
    const bytes = entry.shape.reduce((product, extent) => product * extent, DTYPE_BYTES[dtype]);
    const change = rewrite?.(config, name) ?? null;
    const same = !change?.shape || String(change.shape) === String(entry.shape);
    entries.set(name, { entry, change });
    tensors.set(name, {
      name,
      dtype,
      shape: same && change?.shape ? spec.shape : entry.shape,
      begin: 0,
      end: bytes,
      source: gguf.source,
    });
    totalBytes += bytes;
  }
  checkTensors(config, tensors, gguf.source.name);
  let last: { of: Rewritten; bytes: Promise<Uint8Array> } | null = null; // a loader reads a tensor in pieces
  const read = async (of: Rewritten, start: number, end: number) => {
    const { entry, change } = of;
    if (!change) return readRange(gguf, entry, start, end);
    if (last?.of !== of) last = { of, bytes: restored(gguf, entry, change) };
    return (await last.bytes).subarray(start, end);
  };
  return {
    folder,
    config: json,
    tensors,
    weights: tensors,
    nf4: new Map(),
    totalBytes,
    read: (name, start = 0, end = tensors.get(name)!.end) => read(entries.get(name)!, start, end),
  };
}

/** A tensor of a file, and how it differs from the checkpoint's. */
interface Rewritten {
  entry: GgufEntry;
  change: GgufRewrite | null;
}

/** All bytes of a tensor as the checkpoint has it, in the type in which it is read. */
async function restored(gguf: GgufFile, entry: GgufEntry, { value, order }: GgufRewrite): Promise<Uint8Array> {
  const dtype = PLAIN[entry.type] ?? "F32";
  const bytes = await readRange(
    gguf,
    entry,
    0,
    entry.shape.reduce((n, extent) => n * extent, DTYPE_BYTES[dtype]),
  );
  if (dtype !== "F32") {
    const words = new Uint16Array(bytes.slice().buffer);
    return order ? bytesOf(reorder(words, order, "from")) : bytes;
  }
  const values = toFloat32(bytes, "F32");
  const made = value ? values.map(value.from) : values;
  return bytesOf(order ? reorder(made, order, "from") : made);
}

/** Bytes `[start, end)` of a tensor without block quantisation: a quantised tensor is read as f32. */
async function readRange(gguf: GgufFile, entry: GgufEntry, start: number, end: number): Promise<Uint8Array> {
  const { block, bytes } = GGML_TYPES[entry.type];
  if (PLAIN[entry.type]) return gguf.source.read(entry.begin + start, entry.begin + end);
  const first = Math.floor(start / (4 * block));
  const last = Math.ceil(end / (4 * block));
  const stored = await gguf.source.read(entry.begin + first * bytes, entry.begin + last * bytes);
  return bytesOf(dequantize(stored, entry.type)).subarray(start - 4 * block * first, end - 4 * block * first);
}

/** A config.json made from a GGUF file's metadata. */
function configOf({ source, metadata, tensors }: GgufFile): Record<string, unknown> {
  const arch = metadata.get("general.architecture");
  const of: GgufMeta = (key) => metadata.get(`${arch}.${key}`);
  const yarn = of("rope.scaling.type") === "yarn";
  const embedding = tensors.get("token_embd.weight");
  if (!embedding) throw new FormatError(`Cannot load ${source.name}: the tensor token_embd.weight is missing`);
  return {
    model_type: arch,
    hidden_size: of("embedding_length"),
    intermediate_size: of("feed_forward_length"),
    num_hidden_layers: of("block_count"),
    num_attention_heads: of("attention.head_count"),
    num_key_value_heads: of("attention.head_count_kv"),
    head_dim: of("attention.key_length"),
    vocab_size: embedding.shape[0],
    max_position_embeddings: of("context_length"),
    rms_norm_eps: of("attention.layer_norm_rms_epsilon"),
    rope_theta: of("rope.freq_base"),
    tie_word_embeddings: !tensors.has("output.weight"),
    attention_bias: tensors.has("blk.0.attn_q.bias"),
    ...(yarn && {
      rope_scaling: {
        rope_type: "yarn",
        factor: of("rope.scaling.factor"),
        original_max_position_embeddings: of("rope.scaling.original_context_length"),
        attention_factor: of("rope.scaling.yarn_attn_factor"),
        beta_fast: of("rope.scaling.yarn_beta_fast"),
        beta_slow: of("rope.scaling.yarn_beta_slow"),
      },
    }),
    ...ggufArchitecture(arch)?.gguf?.config?.(of),
  };
}

/** Bytes of a file's tensors. */
export function ggufDataBytes(tensors: readonly GgufTensor[]): number {
  return tensors.reduce((sum, { type, shape }) => sum + ggmlBytes(type, shape), 0);
}
