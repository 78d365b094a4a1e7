import { nf4Config } from "../../io/bitsandbytes.ts";
import { type Checkpoint, CONFIG_FILE, INDEX_FILE, spelled, WEIGHTS_FILE } from "../../io/checkpoint.ts";
import { encodeSafetensors, type TensorData, tensorBytes } from "../../io/safetensors.ts";
import type { Folder } from "../../io/storage.ts";
import { formatJson } from "../../text/json.ts";
import { EMBEDDING, isProjection, publishedName } from "../architectures/tensors.ts";
import { parseModelConfig } from "../config.ts";
import { type FloatDtype, type MergedTensor, mergedBase, mergedTensors } from "./merge.ts";
import { nf4Parts } from "./merged-nf4.ts";

/** The files of a tokenizer. */
export const TOKENIZER_FILES: readonly string[] = [
  ..."tokenizer.json tokenizer_config.json special_tokens_map.json added_tokens.json vocab.json merges.txt".split(" "),
  ..."tokenizer.model chat_template.jinja chat_template.json".split(" "),
];
export const GENERATION_FILE = "generation_config.json";
/** Files of a processor of images. */
export const PROCESSOR_FILES: readonly string[] = [
  "preprocessor_config.json",
  "video_preprocessor_config.json",
  "processor_config.json",
];
const TORCH_NAMES = { F32: "float32", F16: "float16", BF16: "bfloat16" } as const;

interface MergedOptions {
  /** of tensors that are not quantised; default: the base model's 16-bit dtype, or BF16 if that is in F32 or 4 bits */
  dtype?: FloatDtype | null;
  /** linear layers as bitsandbytes' NF4 with doubly quantised scales */
  nf4?: boolean;
  signal?: AbortSignal;
  /** bytes written so far, and in total; for quantised weights, bytes of the values read for them */
  onProgress?: (done: number, total: number) => void;
}

/** A file of a merged model, produced while it is written. */
export interface MergedFile {
  name: string;
  content: string | Uint8Array | AsyncIterable<Uint8Array>;
}

/** The dtype of a merged model: the requested one, else the 16-bit dtype of the base model's embedding, else BF16. */
export function mergedDtype(checkpoint: Checkpoint, asked: FloatDtype | null = null): FloatDtype {
  return asked ?? (checkpoint.weights.get(EMBEDDING)?.dtype === "F16" ? "F16" : "BF16");
}

/**
 * The files of a model with an adapter merged in, in transformers' layout: the base model's shards, their index,
 * config.json, generation_config.json and the tokenizer. Tied tensors stay tied: tensors that the base model lacks are
 * not created. Write the files in this order.
 *
 * @param adapter a PEFT folder; if it has a tokenizer, that replaces the base model's; null: the model unchanged
 * @throws as mergedTensors
 */
export async function* mergedFiles(
  base: Checkpoint,
  adapter: Folder | null,
  { dtype: asked = null, nf4 = false, signal, onProgress }: MergedOptions = {},
): AsyncGenerator<MergedFile> {
  const checkpoint = await mergedBase(base, adapter);
  const dtype = mergedDtype(checkpoint, asked);
  const tensors = await mergedTensors(checkpoint, adapter);
  const config = parseModelConfig(checkpoint.config, `${checkpoint.folder.path}/${CONFIG_FILE}`);
  const quantized = (name: string) => nf4 && isProjection(config, name);
  const work = (tensor: MergedTensor) => tensorBytes(dtype, tensor.shape) * (quantized(tensor.name) ? 2 : 1);
  const total = tensors.reduce((sum, tensor) => sum + work(tensor), 0);
  let done = 0;
  const report = (bytes: number) => {
    signal?.throwIfAborted();
    done += bytes;
    onProgress?.(done, total);
  };
  const counted = async function* (tensor: MergedTensor) {
    for await (const piece of tensor.bytes(dtype)) {
      yield piece;
      report(piece.length);
    }
  };
  const parts = async (tensor: MergedTensor): Promise<TensorData[]> =>
    quantized(tensor.name)
      ? nf4Parts(tensor, TORCH_NAMES[dtype], () => report(work(tensor) / 2))
      : [{ ...tensor, dtype, data: counted(tensor) }];

  const weight_map: Record<string, string> = {};
  let total_size = 0;
  const shards = await shardsOf(checkpoint);
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  for (const [file, names] of shards) {
    const list: TensorData[] = [];
    for (const name of names) {
      const tensor = byName.get(name);
      if (!tensor) continue; // the tensors of a quantised weight are written with it
      list.push(...(await parts(tensor)).map((part) => ({ ...part, name: publishedName(config, part.name) })));
    }
    for (const { name, dtype, shape } of list) {
      weight_map[name] = file;
      total_size += tensorBytes(dtype, shape);
    }
    yield { name: file, content: encodeSafetensors(list, { format: "pt" }) };
  }
  if (!shards.has(WEIGHTS_FILE)) {
    yield { name: INDEX_FILE, content: `${JSON.stringify({ metadata: { total_size }, weight_map }, null, 2)}\n` };
  }
  const { quantization_config: _, ...plain } = spelled(checkpoint.config);
  const named = { ...plain, dtype: TORCH_NAMES[dtype], torch_dtype: TORCH_NAMES[dtype] };
  const saved = nf4 ? { ...named, quantization_config: nf4Config({ double: true, dtype: TORCH_NAMES[dtype] }) } : named;
  yield { name: CONFIG_FILE, content: `${formatJson(saved, 2)}\n` };
  yield* copied(checkpoint.folder, [GENERATION_FILE, ...PROCESSOR_FILES]);
  yield* copied(await tokenizerFolder(checkpoint.folder, adapter), TOKENIZER_FILES);
}

/** Writes {@link mergedFiles} into a folder. @returns the dtype of tensors that are not quantised */
export async function writeMerged(
  folder: Folder,
  checkpoint: Checkpoint,
  adapter: Folder | null,
  options: MergedOptions = {},
): Promise<FloatDtype> {
  for await (const { name, content } of mergedFiles(checkpoint, adapter, options)) await folder.write(name, content);
  return mergedDtype(checkpoint, options.dtype);
}

/** The folder of an adapted model's tokenizer: the adapter's, if it was saved with a tokenizer. */
export async function tokenizerFolder(base: Folder, adapter: Folder | null): Promise<Folder> {
  return adapter && (await adapter.exists("tokenizer.json")) ? adapter : base;
}

/** Copies of those files that exist. */
export async function* copied(from: Folder, names: readonly string[]): AsyncGenerator<MergedFile> {
  for (const name of names) {
    if (!(await from.exists(name))) continue;
    const source = await from.open(name);
    yield { name, content: await source.read(0, source.size) };
  }
}

/** Names of tensors by their file. */
async function shardsOf({ folder, tensors }: Checkpoint): Promise<Map<string, string[]>> {
  if (await folder.exists(WEIGHTS_FILE)) return new Map([[WEIGHTS_FILE, [...tensors.keys()]]]);
  const shards = new Map<string, string[]>();
  for (const [name, { source }] of tensors) {
    const file = source.name.slice(source.name.lastIndexOf("/") + 1);
    shards.set(file, [...(shards.get(file) ?? []), name]);
  }
  return shards;
}
