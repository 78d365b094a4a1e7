import { IdbFolder } from "../../../src/platform/browser/idb-folder.ts";
import { opfsRoot } from "../../../src/platform/browser/opfs-folder.ts";

Object.assign(globalThis, {
  folders: { idb: (name: string) => IdbFolder.open(name), opfs: (name: string) => opfsRoot().folder(name) },
});
