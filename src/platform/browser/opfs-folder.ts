import { NotFoundError, UnsupportedError } from "../../errors.ts";
import { blobSource } from "../../io/blob.ts";
import { type AppendableFolder, decodeText } from "../../io/memory-folder.ts";
import { checkFileName } from "../../io/names.ts";
import type { ByteSource } from "../../io/storage.ts";
import { explainStorage } from "./quota.ts";
import { checkSecure } from "./secure.ts";

type OpenHandle = (create: boolean) => Promise<FileSystemDirectoryHandle>;
/** Members that TypeScript's DOM types lack. */
type FileHandle = FileSystemFileHandle & {
  /** only in workers */
  createSyncAccessHandle(): Promise<{
    getSize(): number;
    write(bytes: Uint8Array, options: { at: number }): number;
    truncate(size: number): void;
    flush(): void;
    close(): void;
  }>;
  move?(folder: FileSystemDirectoryHandle, name: string): Promise<void>;
};

const isMissing = (error: unknown) => ["NotFoundError", "TypeMismatchError"].includes((error as DOMException).name);

/**
 * The origin's private file system. Appending needs a worker.
 *
 * @throws {GpuError} the page is not a secure context
 * @throws {UnsupportedError} the browser has no OPFS
 */
export function opfsRoot(): OpfsFolder {
  checkSecure();
  if (!navigator.storage?.getDirectory) {
    throw new UnsupportedError(
      "Cannot keep files: this browser does not offer the origin private file system (OPFS) here",
    );
  }
  return new OpfsFolder(() => navigator.storage.getDirectory(), "opfs:");
}

/**
 * A folder of the origin private file system as an {@link AppendableFolder}. It reads files by range, never whole.
 *
 * `write` is atomic, because OPFS writes into a swap file that replaces the file on closing. Only files can be renamed, because
 * browsers do not move folders.
 */
class OpfsFolder implements AppendableFolder {
  readonly path: string;
  private readonly handle: OpenHandle;

  constructor(handle: OpenHandle, path: string) {
    this.handle = handle;
    this.path = path;
  }

  async list(): Promise<string[]> {
    return this.entries("file");
  }

  async folders(): Promise<string[]> {
    return this.entries("directory");
  }

  async exists(name: string): Promise<boolean> {
    return (await this.file(name)) !== null;
  }

  async open(name: string): Promise<ByteSource> {
    return blobSource(`${this.path}/${name}`, await this.blob(name));
  }

  /** The file as a browser File. @throws {NotFoundError} if there is none */
  async blob(name: string): Promise<File> {
    const file = await this.file(name);
    if (!file) throw new NotFoundError(`Cannot open ${this.path}/${name}: there is no such file`);
    return file.getFile();
  }

  async readText(name: string): Promise<string> {
    const source = await this.open(name);
    return decodeText(await source.read(0, source.size), source.name);
  }

  async write(name: string, content: string | Uint8Array | AsyncIterable<Uint8Array>): Promise<void> {
    let bytes = 0;
    try {
      const { folder, base } = await this.locate(name, true);
      const file = await folder.getFileHandle(base, { create: true });
      const writable = await file.createWritable();
      try {
        for await (const part of pieces(content)) {
          bytes += part.length;
          await writable.write(part as Uint8Array<ArrayBuffer>);
        }
        await writable.close();
      } catch (error) {
        await writable.abort().catch(() => {});
        throw error;
      }
    } catch (error) {
      throw await explainStorage(error, `write ${this.path}/${name}`, bytes);
    }
  }

  append(name: string, text: string): Promise<void> {
    return this.appendBytes(name, new TextEncoder().encode(text));
  }

  async appendBytes(name: string, bytes: Uint8Array): Promise<void> {
    try {
      const { folder, base } = await this.locate(name, true);
      const file = (await folder.getFileHandle(base, { create: true })) as FileHandle;
      const access = await file.createSyncAccessHandle();
      try {
        const before = access.getSize();
        try {
          for (let done = 0; done < bytes.length; ) {
            const wrote = access.write(bytes.subarray(done), { at: before + done });
            if (wrote === 0) throw new DOMException("the write accepted no more bytes", "QuotaExceededError");
            done += wrote;
          }
        } catch (error) {
          access.truncate(before); // leave no partial data behind
          throw error;
        }
        access.flush();
      } finally {
        access.close();
      }
    } catch (error) {
      throw await explainStorage(error, `append to ${this.path}/${name}`, bytes.length);
    }
  }

  async remove(name: string): Promise<void> {
    await this.removeEntry(name, false);
  }

  async rename(from: string, to: string): Promise<void> {
    const file = await this.file(from);
    if (!file) {
      const { folder, base } = await this.locate(from, false).catch(() => ({ folder: null, base: "" }));
      const isFolder = await folder?.getDirectoryHandle(base).then(
        () => true,
        () => false,
      );
      if (isFolder)
        throw new UnsupportedError(`Cannot rename the folder ${this.path}/${from}: OPFS can only rename files`);
      throw new NotFoundError(`Cannot rename ${this.path}/${from}: there is no such file`);
    }
    try {
      const { folder, base } = await this.locate(to, true);
      if (file.move) await file.move(folder, base);
      else {
        const source = blobSource(`${this.path}/${from}`, await file.getFile());
        await this.write(to, ranges(source));
        await this.remove(from);
      }
    } catch (error) {
      throw await explainStorage(error, `rename ${this.path}/${from} to ${to}`, 0);
    }
  }

  folder(name: string): OpfsFolder {
    const parts = checkFileName(name, this.path).split("/");
    const open: OpenHandle = async (create) => {
      let handle = await this.handle(create);
      for (const part of parts) handle = await handle.getDirectoryHandle(part, { create });
      return handle;
    };
    return new OpfsFolder(open, `${this.path}/${name}`);
  }

  async removeFolder(name: string): Promise<void> {
    await this.removeEntry(name, true);
  }

  private async removeEntry(name: string, recursive: boolean): Promise<void> {
    try {
      const { folder, base } = await this.locate(name, false);
      await folder.removeEntry(base, { recursive });
    } catch (error) {
      if (!isMissing(error)) throw await explainStorage(error, `remove ${this.path}/${name}`, 0);
    }
  }

  private async entries(kind: FileSystemHandleKind): Promise<string[]> {
    const names: string[] = [];
    try {
      for await (const [name, entry] of await this.handle(false)) {
        // Chromium's swap files from `write`
        if (entry.kind === kind && !name.endsWith(".crswap")) names.push(name);
      }
    } catch (error) {
      if (!isMissing(error)) throw await explainStorage(error, `list ${this.path}`, 0);
    }
    return names.sort();
  }

  private async file(name: string): Promise<FileHandle | null> {
    try {
      const { folder, base } = await this.locate(name, false);
      return (await folder.getFileHandle(base)) as FileHandle;
    } catch (error) {
      if (isMissing(error)) return null;
      throw await explainStorage(error, `open ${this.path}/${name}`, 0);
    }
  }

  /** The folder that contains a name. */
  private async locate(name: string, create: boolean): Promise<{ folder: FileSystemDirectoryHandle; base: string }> {
    const parts = checkFileName(name, this.path).split("/");
    const base = parts.pop()!;
    let folder = await this.handle(create);
    for (const part of parts) folder = await folder.getDirectoryHandle(part, { create });
    return { folder, base };
  }
}

async function* pieces(content: string | Uint8Array | AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  if (typeof content === "string") yield new TextEncoder().encode(content);
  else if (content instanceof Uint8Array) yield content;
  else yield* content;
}

const COPY_BYTES = 4 << 20;

/** Reads a whole source piece by piece. */
export async function* ranges(source: ByteSource): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < source.size; at += COPY_BYTES) yield source.read(at, Math.min(at + COPY_BYTES, source.size));
}
