import { constants, promises as fs } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { FormatError, NotFoundError, QwenchError } from "../../errors.ts";
import { type AppendableFolder, checkRange, decodeText } from "../../io/memory-folder.ts";
import { checkFileName } from "../../io/names.ts";
import type { ByteSource, LockableFolder } from "../../io/storage.ts";
import { HOST_TAG, isAlive, takeFileLock, temporaryBeside } from "./lock.ts";

const TEMPORARY = /^\..*\.(\d+)-([0-9a-z]+)\.qwench-tmp$/;
/** Milliseconds after which a temporary file of another host or container, whose processes are not visible, is deleted. */
const STALE_MS = 600_000;
const MAX_TEXT_BYTES = 500_000_000; // slightly below V8's longest string

/**
 * A folder on disk as an {@link AppendableFolder}. Works in Node and with Deno's `node:` modules.
 *
 * `write` fills a hidden temporary file beside the target, flushes it to disk and renames it. Writing creates a missing folder.
 * Symbolic links inside the folder are followed; names that leave the folder are rejected.
 *
 * @param path absolute, or relative to the working directory
 */
export function nodeFolder(path: string): AppendableFolder & LockableFolder {
  const root = resolve(path);
  const full = (name: string) => join(root, checkFileName(name, root));
  const entries = async (wanted: "file" | "folder") => {
    const found: string[] = [];
    for (const entry of await orElse(fs.readdir(root, { withFileTypes: true }), [], `list ${root}`)) {
      if (TEMPORARY.test(entry.name)) continue;
      // Follows links, because the caches of Hugging Face's tools consist of them.
      const kind = entry.isSymbolicLink() ? await fs.stat(join(root, entry.name)).catch(() => entry) : entry;
      if (wanted === "file" ? kind.isFile() : kind.isDirectory()) found.push(entry.name);
    }
    return found.sort();
  };
  return {
    path: root,
    list: () => entries("file"),
    folders: () => entries("folder"),
    async exists(name) {
      const stat = await orElse(fs.stat(full(name)), undefined, `look at ${join(root, name)}`);
      return stat?.isFile() ?? false;
    },
    open: async (name) => nodeFile(full(name)),
    readText: async (name) => readText(full(name)),
    write: async (name, content) => writeAtomically(full(name), content),
    append: async (name, text) => append(full(name), text),
    appendBytes: async (name, bytes) => append(full(name), bytes),
    lock: async (name, what) => guard(takeFileLock(`${full(name)}.lock`, what), `lock ${join(root, name)}`),
    remove: async (name) => orElse(fs.unlink(full(name)), undefined, `remove ${join(root, name)}`),
    async rename(from, to) {
      const [source, target] = [full(from), full(to)];
      const what = `rename ${source} to ${target}`;
      await guard(fs.mkdir(dirname(target), { recursive: true }), what);
      await sync(source); // appended bytes must be on disk before the rename
      await guard(fs.rename(source, target), what);
      await sync(dirname(target));
    },
    folder: (name) => nodeFolder(full(name)),
    removeFolder: async (name) => {
      await guard(fs.rm(full(name), { recursive: true, force: true }), `remove ${join(root, name)}`);
    },
  };
}

/**
 * A file on disk, read by range. It is closed between reads.
 *
 * @throws {NotFoundError} if it does not exist, is not readable, or is not a regular file
 */
export async function nodeFile(path: string): Promise<ByteSource> {
  const name = resolve(path);
  const stat = await guard(fs.stat(name), `open ${name}`);
  // Opening a pipe would wait indefinitely for a writer.
  if (!stat.isFile()) throw new NotFoundError(`Cannot open ${name}: it is not a file`);
  const size = stat.size;
  return {
    name,
    size,
    async read(start, end) {
      checkRange(name, size, start, end);
      const bytes = new Uint8Array(end - start);
      const handle = await guard(openWhenFree(name, constants.O_RDONLY), `read ${name}`);
      try {
        for (let done = 0; done < bytes.length; ) {
          const { bytesRead } = await guard(
            handle.read(bytes, done, Math.min(bytes.length - done, 2 ** 30), start + done),
            `read ${name}`,
          );
          if (bytesRead === 0) {
            throw new FormatError(
              `Cannot read bytes ${start} to ${end} of ${name}: it ends at ${start + done}, but had ${size} bytes when opened`,
            );
          }
          done += bytesRead;
        }
      } finally {
        await handle.close();
      }
      return bytes;
    },
  };
}

/** The text of a file at one moment, even if another process replaces the file meanwhile. */
async function readText(path: string): Promise<string> {
  await nodeFile(path); // opening a pipe would wait
  const handle = await guard(openWhenFree(path, constants.O_RDONLY), `read ${path}`);
  try {
    const { size } = await handle.stat();
    if (size > MAX_TEXT_BYTES) {
      throw new FormatError(`Cannot read ${path} as text: ${size} bytes, at most ${MAX_TEXT_BYTES}`);
    }
    return decodeText(await guard(handle.readFile(), `read ${path}`), path);
  } finally {
    await handle.close();
  }
}

/** Longest wait in milliseconds for a free file descriptor. */
const FREE_MS = 10_000;

/**
 * Opens a file. If the process has reached its limit of open files, waits until another file closes, because tensors are read
 * concurrently.
 */
async function openWhenFree(path: string, flags: string | number): Promise<fs.FileHandle> {
  for (let waited = 0, wait = 5; ; waited += wait, wait *= 2) {
    try {
      return await fs.open(path, flags);
    } catch (error) {
      if (!/^E[MN]FILE$/.test((error as { code?: string }).code ?? "") || waited > FREE_MS) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

async function writeAtomically(target: string, content: string | Uint8Array | AsyncIterable<Uint8Array>) {
  const what = `write ${target}`;
  const folder = dirname(target);
  await guard(fs.mkdir(folder, { recursive: true }), what);
  await removeStale(folder, basename(target));
  const temporary = temporaryBeside(target);
  try {
    const handle = await openWhenFree(temporary, "wx");
    try {
      for await (const part of chunks(content)) await writeAll(handle, part);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await fs.rename(temporary, target);
  } catch (error) {
    await fs.unlink(temporary).catch(() => {});
    throw explain(error, what);
  }
  await sync(folder);
}

async function append(target: string, content: string | Uint8Array): Promise<void> {
  const what = `append to ${target}`;
  await guard(fs.mkdir(dirname(target), { recursive: true }), what);
  const before = (await orElse(fs.stat(target), undefined, what))?.size ?? 0;
  try {
    await fs.appendFile(target, content);
  } catch (error) {
    await fs.truncate(target, before).catch(() => {}); // leave no partial line behind
    throw explain(error, what);
  }
}

async function* chunks(content: string | Uint8Array | AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  if (typeof content === "string") yield new TextEncoder().encode(content);
  else if (content instanceof Uint8Array) yield content;
  else yield* content;
}

async function writeAll(handle: fs.FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, Math.min(bytes.length - done, 2 ** 30));
    done += bytesWritten;
  }
}

/** Deletes temporary files that killed processes left behind, at the next write of the same name. */
async function removeStale(folder: string, base: string): Promise<void> {
  for (const name of await fs.readdir(folder).catch(() => [] as string[])) {
    const match = TEMPORARY.exec(name);
    if (!match || !name.startsWith(`.${base}.${match[1]}-`) || isAlive(Number(match[1]))) continue;
    const path = join(folder, name);
    const stat = await fs.stat(path).catch(() => undefined);
    // The age guards a writer in another container, whose process ids mean nothing here.
    const own = match[2].startsWith(HOST_TAG);
    if (stat && (own || Date.now() - stat.mtimeMs > STALE_MS)) await fs.unlink(path).catch(() => {});
  }
}

/** Flushes a file or a folder's entries to disk, if the file system supports it. */
async function sync(path: string): Promise<void> {
  const handle = await openWhenFree(path, constants.O_RDONLY).catch(() => undefined);
  if (!handle) return;
  await handle.sync().catch(() => {});
  await handle.close();
}

async function guard<T>(work: Promise<T>, what: string): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw explain(error, what);
  }
}

/** Like {@link guard}, but returns a fallback value if the file does not exist. */
async function orElse<T>(work: Promise<T>, absent: T, what: string): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return absent;
    throw explain(error, what);
  }
}

/** Of a full quota: on Linux, on macOS. Node has no name for it. */
const EDQUOT = [-122, -69];

function codeOf(error: unknown): string | undefined {
  const { code, errno } = (error ?? {}) as { code?: unknown; errno?: unknown };
  if (EDQUOT.includes(errno as number)) return "EDQUOT";
  return typeof code === "string" ? code : undefined;
}

function explain(error: unknown, what: string): unknown {
  if (error instanceof QwenchError) return error;
  switch (codeOf(error)) {
    case "ENOENT":
    case "ENOTDIR":
      return new NotFoundError(`Cannot ${what}: there is no such file or folder`, { cause: error });
    case "EACCES":
    case "EPERM":
      return new NotFoundError(`Cannot ${what}: this user has no permission`, { cause: error });
    case "EISDIR":
      return new NotFoundError(`Cannot ${what}: it is a folder`, { cause: error });
    case "ENOTEMPTY":
    case "EEXIST":
      return new QwenchError(`Cannot ${what}: something of that name exists`, { cause: error });
    case "EROFS":
      return new QwenchError(`Cannot ${what}: the file system is read-only`, { cause: error });
    case "ENOSPC":
    case "EDQUOT": {
      const full = codeOf(error) === "ENOSPC" ? "the disk is full" : "this user's share of the disk is full";
      return new QwenchError(
        `Cannot ${what}: ${full} (${codeOf(error)}); nothing was overwritten. Free some space and try again`,
        { cause: error },
      );
    }
    case undefined:
      return error;
    default:
      return new QwenchError(`Cannot ${what}: ${(error as Error).message}`, { cause: error });
  }
}

/** Bytes that this user can still write at the location of `path`; null if the system does not say. */
export async function freeBytes(path: string): Promise<number | null> {
  for (let at = resolve(path); ; at = dirname(at)) {
    try {
      const { bavail, bsize } = await fs.statfs(at);
      return bavail * bsize;
    } catch {
      if (dirname(at) === at) return null;
    }
  }
}
