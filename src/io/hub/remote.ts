import { CutError, open, type Transport, withRetries } from "../http.ts";
import { checkRange, concat } from "../memory-folder.ts";
import type { ByteSource, Folder } from "../storage.ts";
import { fetchFiles, type HubOptions, isCached, modelFiles, openSnapshot, type RemoteFile, urlOf } from "./hub.ts";

/**
 * A model of the hub whose weights are not downloaded: small files are, but reads of weights fetch only the requested
 * range. For reading shapes before a download.
 *
 * @returns the folder, and the bytes of weights that a download would fetch
 * @throws as `downloadModel`
 */
export async function lookAtModel(id: string, options: HubOptions): Promise<{ folder: Folder; missing: number }> {
  const snapshot = await openSnapshot("model", id, options.revision ?? "main", options);
  const { small, weights } = await modelFiles(id, snapshot);
  await fetchFiles(snapshot, small);
  const remote = new Map<string, ByteSource>();
  let missing = 0;
  for (const file of weights) {
    if (await isCached(snapshot.folder, file)) continue;
    missing += file.size;
    remote.set(file.path, remoteSource(snapshot.transport, urlOf(snapshot.base, file), file));
  }
  const { folder } = snapshot;
  const seen: Folder = {
    path: folder.path,
    list: async () => [...new Set([...(await folder.list()), ...remote.keys()])].sort(),
    folders: () => folder.folders(),
    exists: async (name) => remote.has(name) || folder.exists(name),
    open: async (name) => remote.get(name) ?? folder.open(name),
    readText: (name) => folder.readText(name),
    write: (name, content) => folder.write(name, content),
    append: (name, text) => folder.append(name, text),
    remove: (name) => folder.remove(name),
    rename: (from, to) => folder.rename(from, to),
    folder: (name) => folder.folder(name),
    removeFolder: (name) => folder.removeFolder(name),
  };
  return { folder: seen, missing };
}

function remoteSource(transport: Transport, url: string, file: RemoteFile): ByteSource {
  const name = `${file.path} of ${transport.what}`;
  return {
    name,
    size: file.size,
    async read(start, end) {
      checkRange(name, file.size, start, end);
      if (start === end) return new Uint8Array();
      return withRetries(transport, name, async () => {
        const headers = { Range: `bytes=${start}-${end - 1}`, "Accept-Encoding": "identity" };
        const opened = await open(transport, url, headers);
        try {
          let skip = opened.response.status === 206 ? 0 : start; // a server without range support begins at 0
          const parts: Uint8Array[] = [];
          let bytes = 0;
          while (bytes < end - start) {
            const chunk = await opened.next();
            if (!chunk) throw new CutError(`the connection ended ${end - start - bytes} bytes early`);
            const rest = chunk.subarray(Math.min(skip, chunk.length), skip + end - start - bytes);
            skip -= Math.min(skip, chunk.length);
            parts.push(rest);
            bytes += rest.length;
          }
          return concat(parts);
        } finally {
          opened.cancel();
        }
      });
    },
  };
}
