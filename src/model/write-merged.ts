import type { Checkpoint } from "../io/checkpoint.ts";
import { CONFIG_FILE, INDEX_FILE, parseWeightMap, WEIGHTS_FILE } from "../io/checkpoint.ts";
import { encodeSafetensors, type TensorData, tensorBytes } from "../io/safetensors.ts";
import type { Folder } from "../io/storage.ts";
import { type FloatDtype, type MergedTensor, mergedTensors } from "./merge.ts";

/** What a tokenizer is made of. */
export const TOKENIZER_FILES: readonly string[] = [
  ..."tokenizer.json tokenizer_config.json special_tokens_map.json added_tokens.json vocab.json merges.txt".split(" "),
  ..."tokenizer.model chat_template.jinja chat_template.json".split(" "),
];
const GENERATION_FILE = "generation_config.json";
const TORCH_NAMES: Record<FloatDtype, string> = { F32: "float32", F16: "float16", BF16: "bfloat16" };

export interface WriteMergedOptions {
  /** default: the base's 16-bit dtype; BF16 for a base in F32 */
  dtype?: FloatDtype | null;
  signal?: AbortSignal;
  /** bytes written so far and in all */
  onProgress?: (done: number, total: number) => void;
}

/** The dtype of a merged model: what was asked for, else the 16-bit dtype of the base's embedding, else BF16. */
export function mergedDtype(checkpoint: Checkpoint, asked: FloatDtype | null): FloatDtype {
  return asked ?? (checkpoint.tensors.get("model.embed_tokens.weight")?.dtype === "F16" ? "F16" : "BF16");
}

/**
 * Writes a model with an adapter put into it as transformers' own folders are: the base's shards tensor by tensor, their
 * index, config.json, generation_config.json and the tokenizer. What is tied stays tied: tensors that the base has not are
 * not made.
 *
 * @param adapter a PEFT folder whose tokenizer, where it has one, goes before the base's; null: the model as it is
 * @throws as mergedTensors
 */
export async function writeMerged(
  folder: Folder,
  checkpoint: Checkpoint,
  adapter: Folder | null,
  { dtype: asked = null, signal, onProgress }: WriteMergedOptions = {},
): Promise<FloatDtype> {
  const dtype = mergedDtype(checkpoint, asked);
  const tensors = await mergedTensors(checkpoint, adapter);
  const total = tensors.reduce((sum, { shape }) => sum + tensorBytes(dtype, shape), 0);
  let done = 0;
  const counted = async function* (tensor: MergedTensor) {
    for await (const piece of tensor.bytes(dtype)) {
      signal?.throwIfAborted();
      yield piece;
      done += piece.length;
      onProgress?.(done, total);
    }
  };
  const data = (tensor: MergedTensor): TensorData => ({ ...tensor, dtype, data: counted(tensor) });
  const base = checkpoint.folder;
  if (await base.exists(WEIGHTS_FILE)) {
    await folder.write(WEIGHTS_FILE, encodeSafetensors(tensors.map(data), { format: "pt" }));
  } else {
    const shards = parseWeightMap(await base.readText(INDEX_FILE), `${base.path}/${INDEX_FILE}`);
    const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
    const weight_map: Record<string, string> = {};
    for (const [file, names] of shards) {
      await folder.write(
        file,
        encodeSafetensors(
          names.map((name) => data(byName.get(name)!)),
          { format: "pt" },
        ),
      );
      for (const name of names) weight_map[name] = file;
    }
    await folder.write(INDEX_FILE, `${JSON.stringify({ metadata: { total_size: total }, weight_map }, null, 2)}\n`);
  }
  const config = { ...checkpoint.config, dtype: TORCH_NAMES[dtype], torch_dtype: TORCH_NAMES[dtype] };
  await folder.write(CONFIG_FILE, `${JSON.stringify(config, null, 2)}\n`);
  await copyFiles(base, folder, [GENERATION_FILE]);
  await copyFiles(await tokenizerFolder(base, adapter), folder, TOKENIZER_FILES);
  return dtype;
}

/** Where the tokenizer of an adapted model lies: with the adapter, where that was saved with one. */
export async function tokenizerFolder(base: Folder, adapter: Folder | null): Promise<Folder> {
  return adapter && (await adapter.exists("tokenizer.json")) ? adapter : base;
}

/** Copies those of the files that are there. */
export async function copyFiles(from: Folder, to: Folder, names: readonly string[]): Promise<void> {
  for (const name of names) {
    if (!(await from.exists(name))) continue;
    const source = await from.open(name);
    await to.write(name, await source.read(0, source.size));
  }
}
