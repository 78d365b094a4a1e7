import type { AppendableFolder } from "../../io/memory-folder.ts";
import { IdbFolder } from "./idb-folder.ts";
import { opfsRoot } from "./opfs-folder.ts";

/**
 * A folder of this site's storage by its name, such as `runs/first`: in OPFS within a worker; in IndexedDB on a page's main
 * thread, where OPFS cannot append.
 */
export function siteFolder(name: string): AppendableFolder {
  const root: AppendableFolder = "WorkerGlobalScope" in globalThis ? opfsRoot() : IdbFolder.open("qwench-files");
  const parts = ["qwench", ...name.split(/[\\/]/)].filter((part) => part !== "" && part !== ".");
  return parts.reduce((folder, part) => folder.folder(part) as AppendableFolder, root);
}
