import { NotFoundError, RecipeError } from "../../errors.ts";
import { globPattern } from "../../text/glob.ts";
import type { Folder } from "../storage.ts";
import { fetchFiles, type HubOptions, openSnapshot, type RemoteFile, type Snapshot } from "./hub.ts";

/** Selects the rows of a data set. */
interface DatasetOptions extends HubOptions {
  /**
   * configuration, such as `main` of openai/gsm8k; needed only if the data set has several and none is called `default`
   */
  config?: string | undefined;
  /** default `train` */
  split?: string | undefined;
  /** subfolder of the repository's own files */
  data_dir?: string | undefined;
  /** which of the repository's own files to read: paths or patterns */
  data_files?: readonly string[] | undefined;
}

/** The files of one split. */
interface DatasetFiles {
  commit: string;
  /** empty when the data set has no configurations */
  config: string;
  split: string;
  files: RemoteFile[];
}

/** The same on disk: names relative to `folder`, in row order, each `.parquet`, `.jsonl` or `.json`. */
interface DownloadedDataset extends Omit<DatasetFiles, "files"> {
  folder: Folder;
  files: string[];
}

const PARQUET_BRANCH = "refs/convert/parquet";
const SPLITS: Record<string, string[]> = {
  train: ["train", "training"],
  validation: ["validation", "valid", "val", "dev"],
  test: ["test", "testing", "eval", "evaluation"],
};

/**
 * Downloads the files of a split: from the hub's own Parquet conversion if there is one, else (or with a `revision`)
 * the data files of the repository whose names contain the split. See `downloadModel` for cache and errors.
 *
 * @param id `owner/name`
 * @throws {RecipeError} when a configuration must be named; the message lists them
 * @throws {NotFoundError} when there is no such data set or split
 */
export async function downloadDataset(id: string, options: DatasetOptions): Promise<DownloadedDataset> {
  const { snapshot, found } = await find(id, options);
  await fetchFiles(snapshot, found.files);
  return { ...found, folder: snapshot.folder, files: found.files.map((file) => file.path) };
}

/**
 * Iterates over the files of a split and downloads each on demand: stopping early downloads no more. Otherwise like
 * {@link downloadDataset}.
 */
export async function* fetchDataset(
  id: string,
  options: DatasetOptions,
): AsyncGenerator<{ folder: Folder; file: string }> {
  const { snapshot, found } = await find(id, options);
  for (const file of found.files) {
    await fetchFiles(snapshot, [file]);
    yield { folder: snapshot.folder, file: file.path };
  }
}

async function find(id: string, options: DatasetOptions): Promise<{ snapshot: Snapshot; found: DatasetFiles }> {
  const { config, split = "train", data_dir, data_files } = options;
  const own = options.revision !== undefined || data_dir !== undefined || data_files !== undefined;
  const conversion = own ? undefined : await openConversion(id, options);
  if (conversion) {
    const files = conversion.files.filter((file) => file.path.endsWith(".parquet"));
    const found = { commit: conversion.commit, ...converted(id, files, config, split) };
    return { snapshot: conversion, found };
  }
  const snapshot = await openSnapshot("dataset", id, options.revision ?? "main", options);
  if (data_files !== undefined) {
    const patterns = data_files.map((pattern) =>
      globPattern(data_dir === undefined ? pattern : `${data_dir}/${pattern}`),
    );
    const files = snapshot.files.filter(({ path }) => patterns.some((pattern) => pattern.test(path)));
    if (files.length === 0) {
      throw new NotFoundError(
        `Cannot fetch the data set ${id}: none of its files fits data_files ${data_files.join(", ")}`,
      );
    }
    return { snapshot, found: { commit: snapshot.commit, config: config ?? "", split, files: sorted(files) } };
  }
  const inside = data_dir === undefined ? "" : `${data_dir.replace(/\/$/, "")}/`;
  const files = snapshot.files.filter(({ path }) => path.startsWith(inside));
  return { snapshot, found: { commit: snapshot.commit, ...native(id, files, config, split) } };
}

/** The conversion, or undefined if the hub has none. */
async function openConversion(id: string, options: DatasetOptions): Promise<Snapshot | undefined> {
  try {
    const snapshot = await openSnapshot("dataset", id, PARQUET_BRANCH, options);
    return snapshot.files.some((file) => file.path.endsWith(".parquet")) ? snapshot : undefined;
  } catch (error) {
    // a data set without access also gives this error: main will report it
    if (error instanceof NotFoundError) return undefined;
    throw error;
  }
}

type Choice = Omit<DatasetFiles, "commit">;

/**
 * The layout of the conversion: `{config}/{split}/0000.parquet`, and `partial-{split}` for data sets that are too
 * large.
 */
function converted(id: string, files: RemoteFile[], config: string | undefined, split: string): Choice {
  const chosen = chooseConfig(id, unique(files.map((file) => file.path.split("/")[0]!)), config);
  const splitOf = (file: RemoteFile) =>
    file.path
      .split("/")
      .slice(1, -1)
      .join("/")
      .replace(/^partial-/, "");
  const own = files.filter((file) => file.path.startsWith(`${chosen}/`));
  const matching = own.filter((file) => splitOf(file) === split);
  if (matching.length === 0) throw missing(id, split, unique(own.map(splitOf)));
  return { config: chosen, split, files: sorted(matching) };
}

function native(id: string, files: RemoteFile[], config: string | undefined, split: string): Choice {
  const data = files.filter(
    (file) => /\.(parquet|jsonl|json)$/.test(file.path) && !/(^|\/)[^/]*info[^/]*\.json$/.test(file.path),
  );
  const parquet = data.filter((file) => file.path.endsWith(".parquet"));
  const lines = data.filter((file) => file.path.endsWith(".jsonl"));
  let pool = parquet.length > 0 ? parquet : lines.length > 0 ? lines : data;
  let chosen = "";
  if (config !== undefined && config !== "default") {
    pool = pool.filter((file) => words(file.path).includes(config) || file.path.split("/").includes(config));
    if (pool.length === 0)
      throw new NotFoundError(`Cannot fetch the data set ${id}: it has no data files of the config ${config}`);
    chosen = config;
  }
  const named = pool.filter((file) => tells(file, split));
  const others = Object.keys(SPLITS).filter((name) => name !== split);
  // Files without a split in their names are the training split, as in the datasets library.
  const silent = split === "train" ? pool.filter((file) => !others.some((other) => tells(file, other))) : [];
  const matching = named.length > 0 ? named : silent;
  if (matching.length === 0) throw missing(id, split, data.map((file) => file.path).slice(0, 12));
  if (config === undefined) {
    const homes = unique(matching.map((file) => file.path.split("/").slice(0, -1).join("/")));
    if (homes.length > 1) chooseConfig(id, homes, undefined);
  }
  return { config: chosen, split, files: sorted(matching) };
}

function chooseConfig(id: string, configs: string[], config: string | undefined): string {
  if (config === undefined) {
    if (configs.length === 1) return configs[0]!;
    if (configs.includes("default")) return "default";
    throw new RecipeError(`Cannot fetch the data set ${id}: name a config, one of ${configs.join(", ")}`);
  }
  if (!configs.includes(config)) {
    throw new NotFoundError(`Cannot fetch the data set ${id}: it has no config ${config}, but ${configs.join(", ")}`);
  }
  return config;
}

const missing = (id: string, split: string, has: string[]) =>
  new NotFoundError(
    `Cannot fetch the data set ${id}: it has no split ${split}, but ${has.join(", ") || "no data files"}`,
  );

const words = (path: string) => path.toLowerCase().split(/[^a-z0-9]+/);

const tells = (file: RemoteFile, split: string) =>
  (SPLITS[split] ?? [split]).some((name) => {
    const at = ` ${words(file.path).join(" ")} `;
    return at.includes(` ${words(name).join(" ")} `);
  });

const unique = (items: string[]) => [...new Set(items)].sort();

/** Row order: `train-2-of-10` before `train-10-of-10`. */
const sorted = (files: RemoteFile[]) =>
  [...files].sort((a, b) => a.path.localeCompare(b.path, "en", { numeric: true }));
