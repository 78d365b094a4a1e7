import { NotFoundError, UnsupportedError } from "../../errors.ts";
import { blobSource } from "../../io/blob.ts";
import { decodeText } from "../../io/memory-folder.ts";
import { checkFileName } from "../../io/names.ts";
import type { Folder } from "../../io/storage.ts";

/**
 * Files that a user picked or a page fetched, as a read-only {@link Folder}.
 *
 * @param path the folder's name in errors
 * @param files by name, without folders
 */
export function filesFolder(path: string, files: ReadonlyMap<string, Blob>): Folder {
  const readOnly = async (name: string): Promise<never> => {
    throw new UnsupportedError(`Cannot change ${path}/${name}: picked files are read-only`);
  };
  const source = async (name: string) => {
    const file = files.get(checkFileName(name, path));
    if (!file) throw new NotFoundError(`Cannot open ${path}/${name}: there is no such file`);
    return blobSource(`${path}/${name}`, file);
  };
  return {
    path,
    list: async () => [...files.keys()].sort(),
    folders: async () => [],
    exists: async (name) => files.has(name),
    open: source,
    async readText(name) {
      const { size, read } = await source(name);
      return decodeText(await read(0, size), `${path}/${name}`);
    },
    write: readOnly,
    append: readOnly,
    remove: readOnly,
    rename: readOnly,
    removeFolder: readOnly,
    folder: (name) => filesFolder(`${path}/${name}`, new Map()),
  };
}
