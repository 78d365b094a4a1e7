import type { StorageUsage, StoredItem } from "../../src/client/types.ts";
import { BusyError, FormatError } from "../../src/errors.ts";
import type { Folder } from "../../src/io/storage.ts";
import { opfsRoot } from "../../src/platform/browser/opfs-folder.ts";
import { show } from "../../src/text/show.ts";
import { checkStored } from "./library.ts";
import { runsHeld } from "./locks.ts";
import { storedName } from "./recipes.ts";
import type { RunStore } from "./runs.ts";

/** Where models and data sets lie, and what each entry of a folder is. */
const PLACES: readonly { folder: string; kindOf: (name: string) => StoredItem["kind"] }[] = [
  { folder: "hub", kindOf: (name) => (name.startsWith("datasets--") ? "data" : "model") },
  { folder: "models", kindOf: () => "model" },
  { folder: "data", kindOf: () => "data" },
];

/** All that is kept for this site, with sizes. */
export async function storageUsage(runs: RunStore): Promise<StorageUsage> {
  const { usage = 0, quota = 0 } = await navigator.storage.estimate();
  const items: StoredItem[] = [];
  const root = opfsRoot().folder("qwench");
  for (const { folder, kindOf } of PLACES) {
    for (const name of await root.folder(folder).folders()) {
      const id = `${folder}/${name}`;
      const bytes = await bytesOf(root.folder(id));
      items.push({ id, kind: kindOf(name), name: storedName(id), bytes, created: null });
    }
  }
  for (const { id, name, created } of await runs.list()) {
    items.push({ id: `runs/${id}`, kind: "run", name, bytes: await bytesOf(runs.checkpoints.folder(id)), created });
  }
  return { usage, quota, persisted: await navigator.storage.persisted(), items };
}

/** Deletes one entry of storage. @throws {BusyError} a run that is being trained, or a model or data set it needs */
export async function removeStored(id: string, runs: RunStore): Promise<void> {
  const held = await runsHeld();
  if (id.startsWith("runs/")) return removeRun(id.slice("runs/".length), runs);
  if (held.size > 0) throw new BusyError("Cannot delete models and data while a run is trained: pause it first");
  await opfsRoot().folder("qwench").removeFolder(checkStored(id));
}

export async function removeRun(id: string, runs: RunStore): Promise<void> {
  if (!/^[\w-]+$/.test(id)) throw new FormatError(`Cannot delete the run ${show(id)}: it is no id of a run`);
  if ((await runsHeld()).has(id)) throw new BusyError("Cannot delete a run while it is trained: pause it first");
  await runs.remove(id);
}

/** Where large exports are made, to be handed out from there. */
export const EXPORTS = "qwench/exports";
/** Milliseconds after which nobody is still saving what was handed out. */
const HANDED_OUT_MS = 3_600_000;

/** Deletes what an earlier session handed out. */
export async function removeOldExports(): Promise<void> {
  const folder = opfsRoot().folder(EXPORTS);
  for (const name of await folder.list()) {
    if (Date.now() - (await folder.blob(name)).lastModified > HANDED_OUT_MS) await folder.remove(name);
  }
}

/** Bytes of all files of a folder and of those in it. */
async function bytesOf(folder: Folder): Promise<number> {
  let bytes = 0;
  for (const name of await folder.list()) bytes += (await folder.open(name)).size;
  for (const name of await folder.folders()) bytes += await bytesOf(folder.folder(name));
  return bytes;
}
