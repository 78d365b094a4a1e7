import type { StorageUsage, StoredItem } from "../../src/client/types.ts";
import { BusyError, FormatError } from "../../src/errors.ts";
import type { Folder } from "../../src/io/storage.ts";
import { opfsRoot } from "../../src/platform/browser/opfs-folder.ts";
import { show } from "../../src/text/show.ts";
import { checkStored } from "./library.ts";
import { runsHeld } from "./locks.ts";
import { storedName } from "./recipes.ts";
import type { RunStore } from "./runs.ts";

/** The folder of images' features. */
export const FEATURES = "qwench/features";
/** The folder of documents and their pairs. */
export const DOCUMENTS = "qwench/documents";

/** The folders of models and data sets, and the kind of their entries. */
const PLACES: readonly { folder: string; kindOf: (name: string) => StoredItem["kind"] }[] = [
  { folder: "hub", kindOf: (name) => (name.startsWith("datasets--") ? "data" : "model") },
  { folder: "models", kindOf: () => "model" },
  { folder: "data", kindOf: () => "data" },
];

/** Everything stored for this site, with sizes. */
export async function storageUsage(runs: RunStore): Promise<StorageUsage> {
  const root = opfsRoot().folder("qwench");
  const { usage = 0, quota = 0 } = await navigator.storage.estimate();
  const items: StoredItem[] = [];
  for (const { folder, kindOf } of PLACES) {
    for (const name of await root.folder(folder).folders()) {
      const id = `${folder}/${name}`;
      const bytes = await bytesOf(root.folder(id));
      items.push({ id, kind: kindOf(name), name: storedName(id), bytes, created: null });
    }
  }
  const documents = await bytesOf(opfsRoot().folder(DOCUMENTS));
  if (documents > 0) {
    items.push({ id: "documents", kind: "data", name: "Documents and their pairs", bytes: documents, created: null });
  }
  const features = await bytesOf(opfsRoot().folder(FEATURES));
  if (features > 0)
    items.push({ id: "features", kind: "data", name: "Features of images", bytes: features, created: null });
  for (const { id, name, created } of await runs.list()) {
    items.push({ id: `runs/${id}`, kind: "run", name, bytes: await bytesOf(runs.checkpoints.folder(id)), created });
  }
  return { usage, quota, persisted: await navigator.storage.persisted(), items };
}

/**
 * Deletes one entry of storage.
 *
 * @throws {BusyError} the entry is a run in training, or a model or data set while a run is training
 */
export async function removeStored(id: string, runs: RunStore): Promise<void> {
  const held = await runsHeld();
  if (id.startsWith("runs/")) return removeRun(id.slice("runs/".length), runs);
  if (id === "documents" || id === "features") return opfsRoot().folder("qwench").removeFolder(id);
  if (held.size > 0) throw new BusyError("Cannot delete models and data while a run is training: pause it first");
  await opfsRoot().folder("qwench").removeFolder(checkStored(id));
}

export async function removeRun(id: string, runs: RunStore): Promise<void> {
  if (!/^[\w-]+$/.test(id)) throw new FormatError(`Cannot delete the run ${show(id)}: it is not a run's id`);
  if ((await runsHeld()).has(id)) throw new BusyError("Cannot delete a run while it is training: pause it first");
  await runs.remove(id);
}

/** The folder in which large exports are made and from which they are returned. */
export const EXPORTS = "qwench/exports";
/** Milliseconds after which no browser is still saving a returned file. */
const HANDED_OUT_MS = 3_600_000;

/** Deletes files that an earlier session returned. */
export async function removeOldExports(): Promise<void> {
  const folder = opfsRoot().folder(EXPORTS);
  for (const name of await folder.list()) {
    if (Date.now() - (await folder.blob(name)).lastModified > HANDED_OUT_MS) await folder.remove(name);
  }
}

/** Bytes of all files in a folder, recursively. */
async function bytesOf(folder: Folder): Promise<number> {
  let bytes = 0;
  for (const name of await folder.list()) bytes += (await folder.open(name)).size;
  for (const name of await folder.folders()) bytes += await bytesOf(folder.folder(name));
  return bytes;
}
