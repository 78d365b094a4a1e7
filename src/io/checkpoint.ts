import { FormatError, NotFoundError, UnsupportedError } from "../errors.ts";
import { parseBoundedJson } from "../text/bounded-json.ts";
import { formatJson, isObject, type JsonObject, parseJson } from "../text/json.ts";
import { notData } from "../text/not-data.ts";
import { oneLine, show } from "../text/show.ts";
import { type LogicalTensors, readLogicalTensors } from "./bitsandbytes.ts";
import { checkPlainName } from "./names.ts";
import { openSafetensors, readEntry, type SafetensorsFile, type TensorEntry } from "./safetensors.ts";
import type { Folder } from "./storage.ts";

export const CONFIG_FILE = "config.json";
export const WEIGHTS_FILE = "model.safetensors";
export const INDEX_FILE = "model.safetensors.index.json";
const MAX_JSON_BYTES = 100_000_000;

/** A model as published: `config.json` and its weights, whose headers have been checked. */
export interface Checkpoint extends Readonly<LogicalTensors> {
  readonly folder: Folder;
  /** `config.json`, not interpreted */
  readonly config: Record<string, unknown>;
  /** by checkpoint name, as stored in the files; `weights` has the decoded view */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** bytes of all tensors */
  readonly totalBytes: number;
  /**
   * Reads a tensor, or bytes `[start, end)` counted from its beginning.
   * @throws {NotFoundError} when the checkpoint has no such tensor
   */
  read(name: string, start?: number, end?: number): Promise<Uint8Array>;
}

/**
 * Opens a checkpoint folder: `config.json`, and `model.safetensors` or `model.safetensors.index.json` with its shards.
 * Reads headers only.
 *
 * @throws {NotFoundError} when the folder, `config.json`, the weights or a shard are missing
 * @throws {FormatError} for an index or header that is not what its format says
 * @throws {UnsupportedError} for weights in another format than safetensors
 */
export async function openCheckpoint(folder: Folder): Promise<Checkpoint> {
  const config = await readJson(folder, CONFIG_FILE);
  const tensors = (await folder.exists(WEIGHTS_FILE))
    ? new Map((await openSafetensors(await folder.open(WEIGHTS_FILE))).tensors)
    : await openShards(folder, config.tie_word_embeddings === true);
  let totalBytes = 0;
  for (const { begin, end } of tensors.values()) totalBytes += end - begin;
  return {
    folder,
    config,
    tensors,
    ...(await readLogicalTensors(tensors, folder.path)),
    totalBytes,
    async read(name, start, end) {
      const entry = tensors.get(name);
      if (!entry) throw new NotFoundError(`Cannot read the tensor ${name}: ${folder.path} has no such tensor`);
      return readEntry(entry, start, end);
    },
  };
}

const texts = new WeakMap<object, string>();

/**
 * A JSON object as written, for a copy with other fields: numbers keep their spelling, so that a program with strictly
 * typed fields finds floats where it wrote floats.
 *
 * @param json the result of {@link readJson}, or any other object
 */
export function spelled(json: Record<string, unknown>): JsonObject {
  const text = texts.get(json);
  return text === undefined ? (json as JsonObject) : (parseJson(text) as JsonObject);
}

/** The same object with other fields; unchanged fields keep their spelling. */
export function edited(json: Record<string, unknown>, fields: Record<string, unknown>): Record<string, unknown> {
  const changed = { ...json, ...fields };
  texts.set(changed, formatJson({ ...spelled(json), ...(fields as JsonObject) }));
  return changed;
}

/**
 * Reads a small JSON file that must hold an object.
 *
 * @throws {NotFoundError} when it is missing
 * @throws {FormatError} when it is not JSON, not an object, or over 100 MB
 */
export async function readJson(folder: Folder, name: string): Promise<Record<string, unknown>> {
  const source = await folder.open(name);
  if (source.size > MAX_JSON_BYTES) {
    throw new FormatError(
      `Cannot read ${source.name}: it has ${source.size} bytes; at most ${MAX_JSON_BYTES} are allowed`,
    );
  }
  const text = await folder.readText(name);
  const json = parseJsonObject(text, source.name);
  texts.set(json, text);
  return json;
}

/** @throws {FormatError} when `text` is not a JSON object; `name` identifies it in the message */
export function parseJsonObject(text: string, name: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = parseBoundedJson(text);
  } catch (error) {
    const kind = notData(new TextEncoder().encode(text.slice(0, 512)));
    if (kind) throw new FormatError(`Cannot read ${name}: it is ${kind}. Fetch the file itself`);
    throw new FormatError(`Cannot read ${name}: it is not JSON (${oneLine((error as Error).message)})`);
  }
  if (!isObject(value)) {
    throw new FormatError(`Cannot read ${name}: it must contain a JSON object`);
  }
  return value as Record<string, unknown>;
}

/**
 * Reads the `weight_map` of `model.safetensors.index.json`.
 *
 * @returns the tensor names of each shard, by shard file name
 * @throws {FormatError} when it is not a map of strings, or a shard is not a plain name ending in `.safetensors`
 */
export function parseWeightMap(text: string, name: string): Map<string, string[]> {
  const map = parseJsonObject(text, name).weight_map;
  if (!isObject(map) || Object.keys(map).length === 0) {
    throw new FormatError(`Cannot read ${name}: its weight_map must map tensor names to files`);
  }
  const shards = new Map<string, string[]>();
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== "string" || !file.endsWith(".safetensors")) {
      throw new FormatError(
        `Cannot read ${name}: it places the tensor ${oneLine(tensor)} in ${show(file)}, which is not a .safetensors file`,
      );
    }
    checkPlainName(file, name);
    const known = shards.get(file);
    if (known) known.push(tensor);
    else shards.set(file, [tensor]);
  }
  return shards;
}

/** A tied head's table: some writers list it in the index but leave it out of the shards. */
const TIED_HEAD = "lm_head.weight";

async function openShards(folder: Folder, tied: boolean): Promise<Map<string, TensorEntry>> {
  if (!(await folder.exists(INDEX_FILE))) {
    const files = await folder.list();
    const pickled = files.find((file) => /\.(bin|pth?|gguf|onnx)$/.test(file));
    const wanted = `Cannot load weights from ${folder.path}: Qwench reads ${WEIGHTS_FILE} or ${INDEX_FILE}`;
    if (pickled) throw new UnsupportedError(`${wanted}, but the folder has ${pickled}`);
    throw new NotFoundError(`${wanted}, but the folder has neither`);
  }
  const shards = parseWeightMap(await folder.readText(INDEX_FILE), `${folder.path}/${INDEX_FILE}`);
  const tensors = new Map<string, TensorEntry>();
  for (const [file, names] of shards) {
    const shard = await openShard(folder, file, names);
    for (const name of names) {
      const entry = shard.tensors.get(name);
      if (!entry && tied && name === TIED_HEAD) continue;
      if (!entry) {
        throw new FormatError(
          `Cannot load ${folder.path}: ${INDEX_FILE} places the tensor ${oneLine(name)} in ${file}, which does not have it`,
        );
      }
      tensors.set(name, entry);
    }
  }
  return tensors;
}

async function openShard(folder: Folder, file: string, names: string[]): Promise<SafetensorsFile> {
  if (!(await folder.exists(file))) {
    throw new NotFoundError(
      `Cannot load ${folder.path}: the shard ${file} is missing; ${INDEX_FILE} places ${names[0]} and ${names.length - 1} more tensors in it`,
    );
  }
  return openSafetensors(await folder.open(file));
}
