import { FormatError, NotFoundError, UnsupportedError } from "../errors.ts";
import { type Checkpoint, CONFIG_FILE, readJson, spelled } from "../io/checkpoint.ts";
import { encodeGguf } from "../io/gguf/gguf.ts";
import { ggufTokenizer } from "../io/gguf/tokenizer.ts";
import { memoryFolder } from "../io/memory-folder.ts";
import { ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, readAdapter, writeAdapter } from "../io/peft.ts";
import { bytesOf, findNonFinite, openSafetensors } from "../io/safetensors.ts";
import type { ByteSource, Folder } from "../io/storage.ts";
import { changesTower } from "../model/adapters/targets.ts";
import { publishedName } from "../model/architectures/tensors.ts";
import { parseModelConfig } from "../model/config.ts";
import { type GgufQuantization, ggufDataBytes, ggufMetadata, ggufTensors } from "../model/files/gguf.ts";
import { openAdapterFor } from "../model/files/load.ts";
import type { FloatDtype } from "../model/files/merge.ts";
import { openModel } from "../model/files/open.ts";
import { copied, type MergedFile, mergedFiles, TOKENIZER_FILES, tokenizerFolder } from "../model/files/write-merged.ts";
import { formatJson } from "../text/json.ts";
import { openTokenizer } from "./tokenizer.ts";

export { GGUF_QUANTIZATIONS, type GgufQuantization, openGgufCheckpoint } from "../model/files/gguf.ts";
export { encodeGgufLora } from "../model/files/gguf-lora.ts";
export type { FloatDtype } from "../model/files/merge.ts";
export type { MergedFile } from "../model/files/write-merged.ts";

/** Formats of `qwench export`, with Unsloth's names. */
export const EXPORT_FORMATS = ["lora", "merged_16bit", "merged_4bit", "gguf"] as const;
/** A format of `qwench export`. */
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

/** What to export, and in which format. */
export interface ExportRequest {
  format: ExportFormat;
  /** for gguf; default q8_0 */
  quantization?: GgufQuantization;
  /** dtype of a merged model's unquantised weights; default: the base's 16-bit dtype */
  dtype?: FloatDtype | null;
  /** model name inside a GGUF and at the start of its file name */
  name: string;
  /** hub id or path of the base, for an adapter that names none */
  base: string;
  signal?: AbortSignal;
  /** bytes produced so far and in total */
  onProgress?: (done: number, total: number) => void;
}

/** A model and its adapter, opened and checked. Their tensors are not loaded. */
export interface ExportSource {
  checkpoint: Checkpoint;
  adapter: Folder | null;
}

/**
 * Opens the model and adapter to export.
 *
 * @throws {FormatError} the checkpoint contradicts its config.json; the adapter belongs to another base
 */
export async function openExport(model: Folder, adapter: Folder | null): Promise<ExportSource> {
  const { checkpoint, config } = await openModel(model);
  if (adapter) await openAdapterFor(config, adapter, checkpoint);
  return { checkpoint, adapter };
}

/**
 * The files of an export, produced while they are written: at most one tensor is in memory at a time.
 *
 * - `lora`: the PEFT folder with a completed adapter_config.json, and the adapter's own tokenizer files if it has any.
 * - `merged_16bit`, `merged_4bit`: a model folder for transformers; `merged_4bit` stores linear layers in bitsandbytes' NF4.
 * - `gguf`: one file for llama.cpp and Ollama.
 *
 * @throws {UnsupportedError} `lora` without an adapter; `gguf` of an adapter that changes the vision tower; a tokenizer or value that the format cannot represent
 * @throws {NotFoundError} `gguf` for a model without tokenizer.json
 * @throws {FormatError} a value is not finite
 */
export async function* exportFiles(source: ExportSource, request: ExportRequest): AsyncGenerator<MergedFile> {
  const { checkpoint, adapter } = source;
  const { format, dtype = null, signal, onProgress } = request;
  switch (format) {
    case "lora":
      yield* loraFiles(source, request);
      return;
    case "merged_16bit":
    case "merged_4bit":
      yield* mergedFiles(checkpoint, adapter, { dtype, nf4: format === "merged_4bit", signal, onProgress });
      return;
    case "gguf":
      await refuseTowerAdapter(source);
      yield await ggufFile(source, request);
  }
}

/** @throws {UnsupportedError} an adapter whose changes of the vision tower a GGUF of the language model would lose */
async function refuseTowerAdapter({ checkpoint, adapter }: ExportSource): Promise<void> {
  if (!adapter) return;
  const config = parseModelConfig(checkpoint.config, `${checkpoint.folder.path}/${CONFIG_FILE}`);
  const { lora } = await openAdapterFor(config, adapter, checkpoint);
  if (!changesTower(config, lora)) return;
  throw new UnsupportedError(
    "Cannot export gguf: the adapter changes the vision tower, and the file holds the language model only. Use merged_16bit",
  );
}

/** Writes the files of an export into an empty folder. @returns their names @throws as exportFiles */
export async function writeExport(folder: Folder, source: ExportSource, request: ExportRequest): Promise<string[]> {
  const names: string[] = [];
  for await (const { name, content } of exportFiles(source, request)) {
    await folder.write(name, content);
    names.push(name);
  }
  return names;
}

/** Name of a GGUF file: `my-model-Q8_0.gguf`. */
export function ggufFileName(name: string, quantization: GgufQuantization): string {
  const plain = name.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[.-]+|-+$/g, "") || "model";
  return `${plain}-${quantization.toUpperCase()}.gguf`;
}

async function* loraFiles(
  { checkpoint, adapter }: ExportSource,
  { base, signal, onProgress }: ExportRequest,
): AsyncGenerator<MergedFile> {
  const nameOf = (name: string) => publishedName({ model_type: String(checkpoint.config.model_type) }, name);
  if (!adapter) throw new UnsupportedError("Cannot export lora: there is no adapter to export");
  await checkFinite(adapter);
  if (!(await isPeft(adapter, nameOf))) {
    yield* convertedAdapter(adapter, base, nameOf);
    return;
  }
  const config = await readJson(adapter, ADAPTER_CONFIG_FILE);
  const named = config.base_model_name_or_path || base;
  yield {
    name: ADAPTER_CONFIG_FILE,
    content: formatJson({ ...spelled(config), base_model_name_or_path: named as string }, 2),
  };
  const weights = await adapter.open(ADAPTER_WEIGHTS_FILE);
  yield { name: ADAPTER_WEIGHTS_FILE, content: ranges(weights, signal, onProgress) };
  yield* copied(adapter, TOKENIZER_FILES);
}

/** Whether an adapter's files already follow PEFT's names for this base. Such files are copied unchanged. */
async function isPeft(adapter: Folder, nameOf: (name: string) => string): Promise<boolean> {
  if (!(await adapter.exists(ADAPTER_WEIGHTS_FILE))) return false;
  const file = await openSafetensors(await adapter.open(ADAPTER_WEIGHTS_FILE));
  const { tensors } = await readAdapter(adapter);
  const names = new Set([...tensors.keys()].map(nameOf));
  return [...file.tensors.keys()].every((name) => names.has(name));
}

/** An adapter of MLX's, or of another spelling, as PEFT has it. */
async function* convertedAdapter(
  adapter: Folder,
  base: string,
  nameOf: (name: string) => string,
): AsyncGenerator<MergedFile> {
  const { config, tensors, read } = await readAdapter(adapter);
  const list = [];
  for (const [name, { shape }] of tensors) list.push({ name: nameOf(name), shape, data: await read(name) });
  const folder = memoryFolder("converted");
  const named = config.base_model_name_or_path || base;
  await writeAdapter(folder, { ...config, base_model_name_or_path: named }, list);
  yield* copied(folder, [ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE]);
  yield* copied(adapter, TOKENIZER_FILES);
}

async function checkFinite(folder: Folder): Promise<void> {
  const adapter = await readAdapter(folder);
  for (const name of adapter.tensors.keys()) {
    const bad = findNonFinite(bytesOf(await adapter.read(name)), "F32");
    if (bad >= 0)
      throw new FormatError(`Cannot export ${folder.path}: ${name} holds a value that is not finite, at ${bad}`);
  }
}

async function ggufFile(
  { checkpoint, adapter }: ExportSource,
  { quantization = "q8_0", name, signal, onProgress }: ExportRequest,
): Promise<MergedFile> {
  const base = checkpoint.folder;
  const config = parseModelConfig(checkpoint.config, `${base.path}/${CONFIG_FILE}`);
  const files = await tokenizerFolder(base, adapter);
  const tokenizer = await openTokenizer(base, adapter);
  if (!tokenizer) throw new NotFoundError(`Cannot make a GGUF of ${base.path}: it has no tokenizer.json`);
  const optional = async (file: string) => ((await files.exists(file)) ? await readJson(files, file) : {});
  const metadata = [
    ...ggufMetadata(checkpoint.config, config, { name, quantization }),
    ...ggufTokenizer(
      {
        tokenizer: await readJson(files, "tokenizer.json"),
        config: await optional("tokenizer_config.json"),
        model: checkpoint.config,
        chat_template: tokenizer.chat_template,
      },
      config.vocab_size,
    ),
  ];
  const tensors = await ggufTensors(checkpoint, adapter, quantization);
  const total = ggufDataBytes(tensors);
  return {
    name: ggufFileName(name, quantization),
    content: counted(encodeGguf(metadata, tensors), total, signal, onProgress),
  };
}

const RANGE = 8 << 20;

async function* ranges(
  source: ByteSource,
  signal?: AbortSignal,
  onProgress?: ExportRequest["onProgress"],
): AsyncGenerator<Uint8Array> {
  const pieces = async function* () {
    for (let at = 0; at < source.size; at += RANGE) yield source.read(at, Math.min(at + RANGE, source.size));
  };
  yield* counted(pieces(), source.size, signal, onProgress);
}

async function* counted(
  pieces: AsyncIterable<Uint8Array>,
  total: number,
  signal?: AbortSignal,
  onProgress?: ExportRequest["onProgress"],
): AsyncGenerator<Uint8Array> {
  let done = 0;
  for await (const piece of pieces) {
    signal?.throwIfAborted();
    yield piece;
    done += piece.length;
    onProgress?.(Math.min(done, total), total);
  }
}
