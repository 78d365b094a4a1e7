import { createStore, del, get, set } from "idb-keyval";
import type { Draft } from "../jobs.ts";

// Every choice of the start view survives a reload: its texts in localStorage, its files in IndexedDB.

const KEY = "qwench.draft";
/** Changes when a draft's form changes: drafts of another version are not read. */
const VERSION = 1;
/** Bytes of files that are copied for a reload. Larger ones are chosen again: a model's weights may have gigabytes. */
const MOST_BYTES = 256 << 20;

/** Files by name: the draft's data file and its model's folder. */
interface FileStore {
  get(key: string): Promise<File[] | undefined>;
  set(key: string, files: File[]): Promise<void>;
  remove(key: string): Promise<void>;
}

/** Names of files that the browser did not keep, so that the user must choose them again. */
export interface MissingFiles {
  model?: string;
  data?: string;
}

/** A draft that was read back. */
interface Found {
  draft: Draft;
  missing: MissingFiles;
}

/** Keeps the draft of the start view. A browser without storage keeps nothing, and loses only that. */
export class DraftKeeper {
  readonly #storage: Pick<Storage, "getItem" | "setItem" | "removeItem">;
  readonly #files: FileStore;
  /** files that lie in the store, by key */
  readonly #kept = new Map<string, readonly File[]>();

  constructor(storage = pageStorage(), files = idbFiles()) {
    this.#storage = storage;
    this.#files = files;
  }

  save(draft: Draft): void {
    const { model, data } = draft;
    const plain = {
      ...draft,
      model: model?.kind === "files" ? { kind: model.kind, name: model.name } : model,
      data: data?.kind === "file" ? { kind: data.kind, name: data.file.name, columns: data.columns ?? null } : data,
    };
    try {
      this.#storage.setItem(KEY, JSON.stringify({ version: VERSION, draft: plain }));
    } catch {
      return; // storage is full or forbidden
    }
    this.#keep("model", model?.kind === "files" ? model.files : null);
    this.#keep("data", data?.kind === "file" ? [data.file] : null);
  }

  async load(): Promise<Found | null> {
    const text = this.#storage.getItem(KEY);
    if (text === null) return null;
    try {
      const { version, draft } = JSON.parse(text);
      if (version !== VERSION) return null;
      const missing: MissingFiles = {};
      const files = async (key: keyof MissingFiles, name: string) => {
        const found = await this.#files.get(key).catch(() => undefined);
        if (found) this.#kept.set(key, found);
        else missing[key] = name;
        return found ?? null;
      };
      const { model, data } = draft;
      if (model?.kind === "files") {
        const found = await files("model", model.name);
        draft.model = found && { ...model, files: found };
      }
      if (data?.kind === "file") {
        const found = await files("data", data.name);
        draft.data = found && { kind: "file", file: found[0], ...(data.columns && { columns: data.columns }) };
      }
      return { draft, missing };
    } catch {
      return null; // written by a version with other bugs
    }
  }

  clear(): void {
    this.#storage.removeItem(KEY);
    this.#keep("model", null);
    this.#keep("data", null);
  }

  #keep(key: string, files: readonly File[] | null): void {
    const now = this.#kept.get(key) ?? null;
    if (same(now, files)) return;
    const bytes = files?.reduce((sum, { size }) => sum + size, 0) ?? 0;
    if (!files || bytes > MOST_BYTES) {
      this.#kept.delete(key);
      this.#files.remove(key).catch(() => {});
    } else {
      this.#kept.set(key, files);
      this.#files.set(key, [...files]).catch(() => this.#kept.delete(key));
    }
  }
}

function same(a: readonly File[] | null, b: readonly File[] | null): boolean {
  return a === b || (a !== null && b !== null && a.length === b.length && a.every((file, i) => file === b[i]));
}

function pageStorage(): Pick<Storage, "getItem" | "setItem" | "removeItem"> {
  try {
    return localStorage;
  } catch {
    return { getItem: () => null, setItem: () => {}, removeItem: () => {} }; // the user forbids storage
  }
}

function idbFiles(): FileStore {
  const store = () => createStore("qwench-draft", "files");
  return {
    get: async (key) => get<File[]>(key, store()),
    set: async (key, files) => set(key, files, store()),
    remove: async (key) => del(key, store()),
  };
}
