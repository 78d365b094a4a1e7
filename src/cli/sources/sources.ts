import { existsSync, statSync } from "node:fs";
import { basename, dirname } from "node:path";
import { type ByteSource, readRows } from "../../data/dataset.ts";
import type { NumberedRow } from "../../data/rows.ts";
import { NetworkError, NotFoundError } from "../../errors.ts";
import { readJson } from "../../io/checkpoint.ts";
import { downloadDataset } from "../../io/hub/dataset.ts";
import { downloadModel, fetchFiles, openSnapshot } from "../../io/hub/hub.ts";
import { ADAPTER_CONFIG_FILE } from "../../io/peft.ts";
import type { Folder } from "../../io/storage.ts";
import { nodeFile, nodeFolder } from "../../platform/node/fs.ts";
import { openTokenizer } from "../../session/tokenizer.ts";
import { checkFileLike } from "./file-names.ts";
import { type CliHub, fromHub, hubName, snapshotIn } from "./hub.ts";

/** A hub id: `owner/name` or `name`, and not a path. */
export const HUB_ID = /^[\w-][\w.-]*(\/[\w-][\w.-]*)?$/;

/** Opens a local folder, or downloads a hub model into the cache. */
export async function openModelFolder(nameOrPath: string, revision: string, hub: CliHub): Promise<Folder> {
  if (existsSync(nameOrPath)) {
    if (!statSync(nameOrPath).isDirectory())
      throw new NotFoundError(
        `Cannot load ${nameOrPath}: it is a file; a model is a folder with config.json and safetensors`,
      );
    return nodeFolder(snapshotIn(nameOrPath));
  }
  checkFileLike(nameOrPath, "load");
  if (!HUB_ID.test(nameOrPath))
    throw new NotFoundError(`Cannot load ${nameOrPath}: there is no such folder, and it is not a hub id (owner/name)`);
  return fromHub(hub, (options) => downloadModel(hubName(nameOrPath), { ...options, revision }));
}

/** The base that an adapter's adapter_config.json names, or "". */
export async function baseOf(adapter: Folder): Promise<string> {
  const { base_model_name_or_path: base } = await readJson(adapter, ADAPTER_CONFIG_FILE);
  return typeof base === "string" ? base : "";
}

/**
 * Opens the base that an adapter names.
 *
 * @throws if the base is unavailable; the message says which file names it and how to name another
 */
export async function openBaseOf(adapter: Folder, base: string, revision: string, hub: CliHub): Promise<Folder> {
  try {
    return await openModelFolder(base, revision, hub);
  } catch (error) {
    if (!(error instanceof NotFoundError || error instanceof NetworkError)) throw error;
    const message = `${error.message}. ${adapter.path}/${ADAPTER_CONFIG_FILE} names it as the adapter's base (base_model_name_or_path); give the base's location with --model`;
    throw error instanceof NotFoundError
      ? new NotFoundError(message, { cause: error })
      : new NetworkError(message, { cause: error });
  }
}

/** The chat template from a Jinja file, or from a tokenizer in a folder or on the hub. */
export async function openChatTemplate(nameOrPath: string, hub: CliHub): Promise<string> {
  if (existsSync(nameOrPath) && !statSync(nameOrPath).isDirectory())
    return nodeFolder(dirname(nameOrPath)).readText(basename(nameOrPath));
  checkFileLike(nameOrPath, "read the chat template");
  let folder: Folder;
  if (existsSync(nameOrPath)) folder = nodeFolder(nameOrPath);
  else if (HUB_ID.test(nameOrPath)) {
    const wanted = new Set(["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]);
    folder = await fromHub(hub, async (options) => {
      const snapshot = await openSnapshot("model", hubName(nameOrPath), "main", options);
      await fetchFiles(
        snapshot,
        snapshot.files.filter(({ path }) => wanted.has(path)),
      );
      return snapshot.folder;
    });
  } else {
    throw new NotFoundError(
      `Cannot read the chat template ${nameOrPath}: there is no such file or folder, and it is not a hub id (owner/name)`,
    );
  }
  const template = (await openTokenizer(folder))?.chat_template;
  if (!template) throw new NotFoundError(`Cannot read the chat template of ${folder.path}: its tokenizer has none`);
  return template;
}

/** Which rows of a data set to read. */
interface RowsWanted {
  config: string | null;
  split: string;
  /** of a hub data set */
  data_dir?: string;
  data_files?: readonly string[];
}

/** Rows of a file, a folder with one file per split, or a hub data set. */
export async function openRows(
  name: string,
  { config, split, ...only }: RowsWanted,
  hub: CliHub,
): Promise<AsyncIterable<NumberedRow>> {
  if (existsSync(name)) {
    if (!statSync(name).isDirectory()) return readRows(await nodeFile(name));
    return rowsOfFiles(nodeFolder(name), await splitFiles(nodeFolder(name), split));
  }
  checkFileLike(name, "read rows from");
  if (!HUB_ID.test(name))
    throw new NotFoundError(
      `Cannot read rows from ${name}: there is no such file or folder, and it is not a hub id (owner/name)`,
    );
  const { folder, files } = await fromHub(hub, (options) =>
    downloadDataset(hubName(name), { ...options, ...only, config: config ?? undefined, split }),
  );
  return rowsOfFiles(folder, files);
}

export const DATA_FILE = /\.(jsonl|ndjson|json|csv|tsv|parquet)(\.gz)?$/;

/** The data files of a folder whose names contain the split. If no name contains a split, all files belong to train. */
export async function splitFiles(folder: Folder, split: string): Promise<string[]> {
  const files = (await folder.list()).filter((file) => DATA_FILE.test(file));
  const named = files.filter((file) => file.split(/[.\-_]/).includes(split));
  if (named.length > 0) return named;
  if (
    split === "train" &&
    files.length > 0 &&
    !files.some((file) => /(^|[.\-_])(test|validation|dev)([.\-_]|$)/.test(file))
  )
    return files;
  throw new NotFoundError(
    `Cannot find split ${split} in ${folder.path}: its data files are ${files.join(", ") || "none"}`,
  );
}

async function* rowsOfFiles(folder: Folder, files: readonly string[]): AsyncGenerator<NumberedRow> {
  for (const file of files) yield* readRows(await openFile(folder, file));
}

/** A file by its path within a folder. */
export function openFile(folder: Folder, file: string): Promise<ByteSource> {
  const folders = dirname(file) === "." ? [] : dirname(file).split("/");
  return folders.reduce((parent, name) => parent.folder(name), folder).open(basename(file));
}
