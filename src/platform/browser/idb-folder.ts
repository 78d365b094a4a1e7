import { createStore } from "idb-keyval";
import { FormatError, NotFoundError } from "../../errors.ts";
import { type AppendableFolder, checkRange, concat, decodeText } from "../../io/memory-folder.ts";
import { checkFileName } from "../../io/names.ts";
import type { ByteSource } from "../../io/storage.ts";
import { explainStorage } from "./quota.ts";

/** idb-keyval's access to a store; its own type would make the package's types depend on it. */
type UseStore = <T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => T | PromiseLike<T>) => Promise<T>;

/** A file's entry, at the key `["file", path]`. Its bytes are at `["part", id, n]`, so renaming moves only entries. */
interface Entry {
  id: string;
  /** size of each part in bytes */
  parts: number[];
}

/** Size of a part in bytes. One part is in memory at a time. */
const PART_BYTES = 4 << 20;

const fileKey = (path: string): IDBValidKey => ["file", path];
const partKey = (id: string, n: number): IDBValidKey => ["part", id, n];
/** all keys that begin with `prefix`; IndexedDB sorts arrays after all other keys */
const filesUnder = (prefix: string) => IDBKeyRange.bound(["file", prefix], ["file", `${prefix}\uffff`]);
const partsOf = (id: string) => IDBKeyRange.bound(["part", id], ["part", id, []]);

/**
 * An {@link AppendableFolder} in IndexedDB, for data that must be replaced atomically, such as checkpoints. One transaction
 * replaces a file, or all files of a folder. After a crash the database holds either the old files or the new ones.
 */
export class IdbFolder implements AppendableFolder {
  readonly path: string;
  private readonly store: UseStore;
  private readonly prefix: string;

  constructor(store: UseStore, path: string, prefix = "") {
    this.store = store;
    this.path = path;
    this.prefix = prefix;
  }

  /** Opens a folder in its own database. */
  static open(database: string): IdbFolder {
    return new IdbFolder(createStore(database, "files"), `indexeddb:${database}`);
  }

  async list(): Promise<string[]> {
    return this.children(false);
  }

  async folders(): Promise<string[]> {
    return this.children(true);
  }

  async exists(name: string): Promise<boolean> {
    return (await this.entry(name)) !== undefined;
  }

  async open(name: string): Promise<ByteSource> {
    const entry = await this.entry(name);
    const path = `${this.path}/${name}`;
    if (!entry) throw new NotFoundError(`Cannot open ${path}: there is no such file`);
    const size = sum(entry.parts);
    const read = async (start: number, end: number) => {
      checkRange(path, size, start, end);
      return this.readParts(path, entry, start, end);
    };
    return { name: path, size, read };
  }

  async readText(name: string): Promise<string> {
    const source = await this.open(name);
    return decodeText(await source.read(0, source.size), source.name);
  }

  async write(name: string, content: string | Uint8Array | AsyncIterable<Uint8Array>): Promise<void> {
    const path = this.full(name);
    const fresh: Entry = { id: `${path}#${crypto.randomUUID()}`, parts: [] };
    try {
      for await (const part of inParts(content)) await this.addPart(fresh, part);
      await this.transact((store) => {
        replaceEntry(store, path, fresh);
      });
    } catch (error) {
      await this.transact((store) => store.delete(partsOf(fresh.id))).catch(() => {}); // otherwise `sweep` deletes them
      throw await explainStorage(error, `write ${this.path}/${name}`, sum(fresh.parts));
    }
  }

  append(name: string, text: string): Promise<void> {
    return this.appendBytes(name, new TextEncoder().encode(text));
  }

  async appendBytes(name: string, bytes: Uint8Array): Promise<void> {
    const path = this.full(name);
    try {
      await this.transact((store) => {
        const got = store.get(fileKey(path));
        got.onsuccess = () => {
          const old: Entry = got.result ?? { id: `${path}#${crypto.randomUUID()}`, parts: [] };
          if (bytes.length > 0) store.put(bytes.slice(), partKey(old.id, old.parts.length));
          store.put({ ...old, parts: bytes.length > 0 ? [...old.parts, bytes.length] : old.parts }, fileKey(path));
        };
      });
    } catch (error) {
      throw await explainStorage(error, `append to ${this.path}/${name}`, bytes.length);
    }
  }

  async remove(name: string): Promise<void> {
    const path = this.full(name);
    await this.transact((store) => removeEntry(store, path));
  }

  async rename(from: string, to: string): Promise<void> {
    const [source, target] = [this.full(from), this.full(to)];
    let problem: Error | null = null;
    await this.transact((store) => {
      const file = store.get(fileKey(source));
      file.onsuccess = () => {
        if (file.result) {
          store.delete(fileKey(source));
          replaceEntry(store, target, file.result);
          return;
        }
        const taken = store.count(filesUnder(`${target}/`));
        const inside = store.getAllKeys(filesUnder(`${source}/`));
        inside.onsuccess = () => {
          if (taken.result > 0) {
            problem = new FormatError(
              `Cannot rename the folder ${this.path}/${from} to ${to}: something of that name exists`,
            );
          } else if (inside.result.length === 0) {
            problem = new NotFoundError(`Cannot rename ${this.path}/${from}: there is no such file or folder`);
          } else for (const key of inside.result) moveEntry(store, (key as [string, string])[1], source, target);
        };
      };
    });
    if (problem) throw problem;
  }

  folder(name: string): IdbFolder {
    return new IdbFolder(this.store, `${this.path}/${name}`, `${this.full(name)}/`);
  }

  async removeFolder(name: string): Promise<void> {
    const prefix = `${this.full(name)}/`;
    await this.transact((store) => {
      const keys = store.getAllKeys(filesUnder(prefix));
      keys.onsuccess = () => {
        for (const key of keys.result) removeEntry(store, (key as [string, string])[1]);
      };
    });
  }

  /** Deletes the bytes of writes that a crash interrupted. Call it only while nobody else writes. */
  async sweep(): Promise<void> {
    await this.transact((store) => {
      const entries = store.getAll(IDBKeyRange.bound(["file"], ["file", []]));
      entries.onsuccess = () => {
        const known = new Set((entries.result as Entry[]).map(({ id }) => id));
        const parts = store.getAllKeys(IDBKeyRange.bound(["part"], ["part", []]));
        parts.onsuccess = () => {
          for (const key of parts.result) if (!known.has((key as [string, string])[1])) store.delete(key);
        };
      };
    });
  }

  private full(name: string): string {
    return this.prefix + checkFileName(name, this.path);
  }

  private entry(name: string): Promise<Entry | undefined> {
    const path = this.full(name);
    return this.store("readonly", (store) => settled(store.get(fileKey(path))));
  }

  private async children(folders: boolean): Promise<string[]> {
    const keys = await this.store("readonly", (store) => settled(store.getAllKeys(filesUnder(this.prefix))));
    const names = new Set<string>();
    for (const key of keys) {
      const rest = (key as [string, string])[1].slice(this.prefix.length);
      const slash = rest.indexOf("/");
      if (folders === slash >= 0) names.add(slash < 0 ? rest : rest.slice(0, slash));
    }
    return [...names].sort();
  }

  private async addPart(entry: Entry, bytes: Uint8Array): Promise<void> {
    const key = partKey(entry.id, entry.parts.length);
    entry.parts.push(bytes.length); // counted first, for the error message
    await this.transact((store) => store.put(bytes, key));
  }

  private async readParts(path: string, { id, parts }: Entry, start: number, end: number): Promise<Uint8Array> {
    const found: Uint8Array[] = [];
    let at = 0;
    for (const [n, length] of parts.entries()) {
      if (at < end && at + length > start) {
        const part: Uint8Array | undefined = await this.store("readonly", (store) =>
          settled(store.get(partKey(id, n))),
        );
        if (part?.length !== length) {
          throw new FormatError(`Cannot read ${path}: part ${n} of ${length} bytes is ${part ? "damaged" : "gone"}`);
        }
        found.push(part.subarray(Math.max(0, start - at), Math.min(length, end - at)));
      }
      at += length;
    }
    return concat(found);
  }

  /** Runs one transaction and waits until it is complete. */
  private transact(work: (store: IDBObjectStore) => unknown): Promise<void> {
    return this.store("readwrite", (store) => {
      work(store);
      return new Promise<void>((resolve, reject) => {
        const { transaction } = store;
        transaction.oncomplete = () => resolve();
        transaction.onabort = () => reject(transaction.error);
      });
    });
  }
}

/** Deletes an entry and its bytes. */
function removeEntry(store: IDBObjectStore, path: string): void {
  const old = store.get(fileKey(path));
  old.onsuccess = () => {
    if (old.result) store.delete(partsOf(old.result.id));
    store.delete(fileKey(path));
  };
}

function replaceEntry(store: IDBObjectStore, path: string, entry: Entry): void {
  const old = store.get(fileKey(path));
  old.onsuccess = () => {
    if (old.result) store.delete(partsOf(old.result.id));
    store.put(entry, fileKey(path));
  };
}

function moveEntry(store: IDBObjectStore, path: string, from: string, to: string): void {
  const entry = store.get(fileKey(path));
  entry.onsuccess = () => {
    store.delete(fileKey(path));
    store.put(entry.result, fileKey(to + path.slice(from.length)));
  };
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Splits bytes into pieces of a part's size. */
async function* inParts(content: string | Uint8Array | AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const pieces =
    typeof content === "string"
      ? [new TextEncoder().encode(content)]
      : content instanceof Uint8Array
        ? [content]
        : content;
  let waiting: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of pieces) {
    for (let at = 0; at < piece.length; ) {
      const part = piece.slice(at, at + PART_BYTES - bytes); // a copy, because the buffer may be reused
      waiting.push(part);
      bytes += part.length;
      at += part.length;
      if (bytes < PART_BYTES) continue;
      yield concat(waiting);
      [waiting, bytes] = [[], 0];
    }
  }
  if (bytes > 0) yield concat(waiting);
}

const sum = (lengths: readonly number[]) => lengths.reduce((a, b) => a + b, 0);
