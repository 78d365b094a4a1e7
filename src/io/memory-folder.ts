import { FormatError, NotFoundError } from "../errors.ts";
import { checkFileName } from "./names.ts";
import type { ByteSource, Folder } from "./storage.ts";

/** A {@link Folder} that can also append bytes to a file, for resumable downloads. */
export interface AppendableFolder extends Folder {
  /** Appends bytes to a file and creates it when absent; when this returns, the bytes are in the file. */
  appendBytes(name: string, bytes: Uint8Array): Promise<void>;
}

/** Whether `folder` has {@link AppendableFolder.appendBytes}. */
export function isAppendable(folder: Folder): folder is AppendableFolder {
  return typeof (folder as Partial<AppendableFolder>).appendBytes === "function";
}

/** Bytes already in memory as a {@link ByteSource}; reads return copies. */
export function memorySource(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    size: bytes.length,
    async read(start, end) {
      checkRange(name, bytes.length, start, end);
      return bytes.slice(start, end);
    },
  };
}

/**
 * A folder in memory, for tests and for models that are part of a page.
 *
 * @param path its name in errors
 */
export function memoryFolder(path = "memory:"): AppendableFolder {
  return view(new Map(), path, "");
}

/**
 * Checks a byte range against a source's length.
 *
 * @throws {FormatError} `Cannot read bytes 8 to 24 of x.bin: it has 16 bytes`
 */
export function checkRange(name: string, size: number, start: number, end: number): void {
  const whole = Number.isSafeInteger(start) && Number.isSafeInteger(end);
  if (!whole || start < 0 || end < start || end > size) {
    throw new FormatError(`Cannot read bytes ${start} to ${end} of ${name}: it has ${size} bytes`);
  }
}

// One map of full names holds the whole tree, so renaming a folder means renaming its files.
function view(files: Map<string, Uint8Array>, path: string, prefix: string): AppendableFolder {
  const full = (name: string) => prefix + checkFileName(name, path);
  const get = (name: string): Uint8Array => {
    const bytes = files.get(full(name));
    if (bytes === undefined) throw new NotFoundError(`Cannot open ${path}/${name}: there is no such file`);
    return bytes;
  };
  const children = (folders: boolean): string[] => {
    const names = new Set<string>();
    for (const key of files.keys()) {
      if (!key.startsWith(prefix)) continue;
      const slash = key.indexOf("/", prefix.length);
      if (folders === slash >= 0) names.add(key.slice(prefix.length, slash < 0 ? undefined : slash));
    }
    return [...names].sort();
  };
  const appendBytes = async (name: string, bytes: Uint8Array) => {
    const old = files.get(full(name)) ?? new Uint8Array();
    files.set(full(name), concat([old, bytes]));
  };
  return {
    path,
    appendBytes,
    list: async () => children(false),
    folders: async () => children(true),
    exists: async (name) => files.has(full(name)),
    open: async (name) => memorySource(`${path}/${name}`, get(name)),
    readText: async (name) => decodeText(get(name), `${path}/${name}`),
    async write(name, content) {
      const key = full(name);
      files.set(key, await collect(content));
    },
    append: async (name, text) => appendBytes(name, new TextEncoder().encode(text)),
    async remove(name) {
      files.delete(full(name));
    },
    async rename(from, to) {
      const [source, target] = [full(from), full(to)];
      const bytes = files.get(source);
      if (bytes !== undefined) {
        files.delete(source);
        files.set(target, bytes);
        return;
      }
      const inside = [...files.keys()].filter((key) => key.startsWith(`${source}/`));
      if (inside.length === 0)
        throw new NotFoundError(`Cannot rename ${path}/${from}: there is no such file or folder`);
      if ([...files.keys()].some((key) => key === target || key.startsWith(`${target}/`))) {
        throw new FormatError(`Cannot rename the folder ${path}/${from} to ${to}: something of that name exists`);
      }
      for (const key of inside) {
        files.set(target + key.slice(source.length), files.get(key)!);
        files.delete(key);
      }
    },
    folder: (name) => view(files, `${path}/${name}`, `${full(name)}/`),
    async removeFolder(name) {
      const start = `${full(name)}/`;
      for (const key of [...files.keys()]) if (key.startsWith(start)) files.delete(key);
    },
  };
}

/** Collects the data of a {@link Folder.write} into one array. */
async function collect(content: string | Uint8Array | AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  if (typeof content === "string") return new TextEncoder().encode(content);
  if (content instanceof Uint8Array) return content.slice();
  const parts: Uint8Array[] = [];
  for await (const part of content) parts.push(part.slice());
  return concat(parts);
}

/** Concatenates `parts`. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/**
 * Decodes UTF-8 strictly.
 *
 * @throws {FormatError} when the bytes are not UTF-8
 */
export function decodeText(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new FormatError(`Cannot read ${name} as text: its ${bytes.length} bytes are not UTF-8`);
  }
}
