/** Stored bytes that can be read by range: a file, an OPFS entry, a blob, an HTTP resource. */
export interface ByteSource {
  /** its name in errors: a path or a URL */
  readonly name: string;
  /** length in bytes */
  readonly size: number;
  /** Reads bytes `[start, end)`. A source that ends early throws FormatError instead of returning fewer bytes. */
  read(start: number, end: number): Promise<Uint8Array>;
}

/** A folder of files on any storage: a disk, OPFS, memory. File names are relative, with `/`, never `..`. */
export interface Folder {
  /** its name in errors */
  readonly path: string;
  /** Names of the files directly inside, sorted. A folder that does not exist lists as empty. */
  list(): Promise<string[]>;
  exists(name: string): Promise<boolean>;
  /** @throws {NotFoundError} when there is no such file */
  open(name: string): Promise<ByteSource>;
  readText(name: string): Promise<string>;
  /** Writes under a temporary name, then renames: a crash leaves the old file or the new one, never a part. */
  write(name: string, content: string | Uint8Array | AsyncIterable<Uint8Array>): Promise<void>;
  /** Appends to a log; creates it when absent. */
  append(name: string, text: string): Promise<void>;
  remove(name: string): Promise<void>;
  /** Atomically renames a file or subfolder inside this folder, replacing a file of that name. */
  rename(from: string, to: string): Promise<void>;
  /** Names of the subfolders directly inside, sorted. */
  folders(): Promise<string[]>;
  folder(name: string): Folder;
  /** Removes a subfolder with its contents. */
  removeFolder(name: string): Promise<void>;
}

/** The owner of a lock. */
export interface LockOwner {
  /** process id, or the platform's equivalent */
  id: string;
  host: string;
  /** the owner's activity, for display: "train" */
  what: string;
}

/** An acquired lock. */
export interface Lock {
  release(): Promise<void>;
}

/** A folder in which one process at a time can claim a name. */
export interface LockableFolder extends Folder {
  /**
   * Claims a name in this folder, unless a living process has it. A lock whose owner has died is taken over.
   *
   * @param what the claimant's activity, for display
   * @returns the lock, or its owner
   */
  lock(name: string, what: string): Promise<Lock | { owner: LockOwner }>;
}

function isLockable(folder: Folder): folder is LockableFolder {
  return typeof (folder as Partial<LockableFolder>).lock === "function";
}

/** Milliseconds between two checks of a lock that another process holds. */
const LOOK_MS = 200;

/**
 * Runs `work` while no other process works under the same name in this folder: waits for the lock. If the folder has no
 * locks, runs at once.
 *
 * @param onWait called once with the owner that it waits for
 */
export async function exclusively<T>(
  folder: Folder,
  name: string,
  what: string,
  work: () => Promise<T>,
  { signal, onWait }: { signal?: AbortSignal; onWait?: (owner: LockOwner) => void } = {},
): Promise<T> {
  if (!isLockable(folder)) return work();
  let told = false;
  for (;;) {
    const lock = await folder.lock(name, what);
    if ("release" in lock) {
      try {
        return await work();
      } finally {
        await lock.release();
      }
    }
    if (!told) onWait?.(lock.owner);
    told = true;
    signal?.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** Removes the claim of an owner that has died, as a killed process leaves it. That of a living one stays. */
export async function forgetDead(folder: Folder, name: string): Promise<void> {
  if (!isLockable(folder) || !(await folder.exists(`${name}.lock`))) return;
  const lock = await folder.lock(name, "look for the dead");
  if ("release" in lock) await lock.release();
}
