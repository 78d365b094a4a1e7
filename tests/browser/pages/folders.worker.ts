import { IdbFolder } from "../../../src/platform/idb-folder.ts";
import { opfsRoot } from "../../../src/platform/opfs-folder.ts";

Object.assign(globalThis, {
  folders: { idb: (name: string) => IdbFolder.open(name), opfs: (name: string) => opfsRoot().folder(name) },
});
