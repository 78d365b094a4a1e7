import { createHash } from "node:crypto";
import { promises as fs, readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import type { Lock, LockOwner } from "../../io/storage.ts";

/** Milliseconds between an owner's signs of life, and the silence after which the owner counts as dead. */
const BEAT_MS = 5_000;
const DEAD_MS = 60_000;

interface Written extends LockOwner {
  /** when the process began, because the system reuses process ids */
  began: string;
}

/**
 * Takes the lock file `path`, unless a living process holds it.
 *
 * On this host, the owner's process id shows whether the owner is alive. On another host or in another container, the file's
 * time does: an owner touches its file every 5 s.
 *
 * @throws the file system's error if the lock cannot be written
 */
export async function takeFileLock(path: string, what: string): Promise<Lock | { owner: LockOwner }> {
  const mine = writtenBy(what);
  const folder = dirname(path);
  let made: string | undefined;
  for (const until = performance.now() + PATIENCE_MS; performance.now() < until; ) {
    made = (await fs.mkdir(folder, { recursive: true })) ?? made; // again: who released may have removed it
    const found = await read(path);
    if (found !== null) {
      if (await isHeld(path, found)) return { owner: found };
      await removeDead(path);
      continue;
    }
    if (!(await create(path, JSON.stringify(mine)))) continue;
    await removeHalves(path);
    return held(path, mine, made === undefined ? null : folder);
  }
  return { owner: { id: "?", host: "?", what: "another process" } };
}

/** The living process that holds a lock file; null: none. Changes nothing. */
export async function lockOwner(path: string): Promise<LockOwner | null> {
  const found = await read(path);
  return found !== null && (await isHeld(path, found)) ? found : null;
}

const writtenBy = (what: string): Written => ({
  id: String(process.pid),
  host: hostname(),
  what,
  began: beganAt(process.pid),
});

/** Tells temporary files of this host from those of other hosts and containers: process ids mean nothing there. */
export const HOST_TAG = createHash("sha256").update(`${hostname()} ${processSpace()}`).digest("hex").slice(0, 6);

/** Containers may have the same host name; on Linux their process ids belong to different namespaces. */
function processSpace(): string {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    return "";
  }
}

/** The hidden name under which what will be `path` is written. */
export function temporaryBeside(path: string): string {
  const random = Math.random().toString(36).slice(2, 10) || "0";
  return join(dirname(path), `.${basename(path)}.${process.pid}-${HOST_TAG}${random}.qwench-tmp`);
}

/** What file systems say that have no hard links. */
const NO_LINKS = ["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL", "EMLINK"];

/**
 * Creates the file with its complete text, unless it exists. Creates it in one step, so that a killed process never leaves a
 * lock without an owner, which would look like a living process's lock.
 *
 * @returns whether the file was created
 */
async function create(path: string, text: string): Promise<boolean> {
  const half = temporaryBeside(path);
  try {
    await fs.writeFile(half, text, { flag: "wx" });
    await fs.link(half, path);
    return true;
  } catch (error) {
    const { code = "" } = error as { code?: string };
    if (code === "EEXIST" || code === "ENOENT") return false; // another process has created the file, or removed the folder
    if (!NO_LINKS.includes(code)) throw error;
  } finally {
    await fs.unlink(half).catch(() => {});
  }
  return createSlowly(path, text);
}

/** The same in two steps, for file systems without hard links. */
async function createSlowly(path: string, text: string): Promise<boolean> {
  try {
    const handle = await fs.open(path, "wx");
    try {
      await handle.writeFile(text);
    } finally {
      await handle.close();
    }
    return true;
  } catch (error) {
    if ((error as { code?: string }).code !== "EEXIST") throw error;
    return false;
  }
}

/** Removes temporary files that killed processes left in `create`. */
async function removeHalves(path: string): Promise<void> {
  const folder = dirname(path);
  for (const name of await fs.readdir(folder).catch(() => [])) {
    if (!name.startsWith(`.${basename(path)}.`)) continue;
    const pid = /\.(\d+)-[0-9a-z]+\.qwench-tmp$/.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) await fs.unlink(join(folder, name)).catch(() => {});
  }
}

/** Milliseconds for which a process tries to take a lock that other processes take, release and remove all the time. */
const PATIENCE_MS = 20_000;

/**
 * Removes a dead owner's lock. Only one process does so at a time; otherwise a second one could remove the new lock of the
 * first.
 */
async function removeDead(path: string): Promise<void> {
  const removing = `${path}.removing`;
  if (!(await create(removing, JSON.stringify(writtenBy("remove a lock"))))) {
    const remover = await read(removing);
    if (remover && !(await isHeld(removing, remover))) await fs.unlink(removing).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 20));
    return;
  }
  try {
    const found = await read(path);
    if (found && !(await isHeld(path, found))) await fs.unlink(path).catch(() => {});
  } finally {
    await fs.unlink(removing).catch(() => {});
  }
}

/** @param made the folder, if it was created for the lock; it is removed with the lock if it is still empty */
function held(path: string, mine: Written, made: string | null): Lock {
  const beat = setInterval(() => {
    const now = new Date();
    fs.utimes(path, now, now).catch(() => {}); // a missing file is not an error, as in release
  }, BEAT_MS);
  beat.unref?.();
  return {
    async release() {
      clearInterval(beat);
      const found = await read(path);
      // unless another process took the lock over while this one was suspended
      if (found && found.id === mine.id && found.host === mine.host) await fs.unlink(path).catch(() => {});
      if (made !== null) await fs.rmdir(made).catch(() => {}); // usually it is not empty
    },
  };
}

/**
 * The owner of a lock file, or null if there is no file. A partly written file belongs to a process that is taking the lock.
 */
async function read(path: string): Promise<Written | null> {
  try {
    const text = await fs.readFile(path, "utf8");
    const { id, host, what, began } = JSON.parse(text);
    return { id: String(id), host: String(host), what: String(what).slice(0, 200), began: String(began) };
  } catch (error) {
    // ENOTDIR: a file is in the folder's place; creating the folder then reports it
    if (["ENOENT", "ENOTDIR"].includes((error as { code?: string }).code ?? "")) return null;
    return { id: "?", host: "?", what: "another process", began: "" };
  }
}

async function isHeld(path: string, { id, host, began }: Written): Promise<boolean> {
  if (host === hostname() && /^\d+$/.test(id)) {
    const pid = Number(id);
    return isAlive(pid) && (began === "" || beganAt(pid) === began);
  }
  const stat = await fs.stat(path).catch(() => null);
  // without a name it is just being written, or its writer was killed in the middle of it
  return stat !== null && Date.now() - stat.mtimeMs < (host === "?" ? 3 * BEAT_MS : DEAD_MS);
}

/** Whether a process of this host is alive. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as { code?: string }).code === "EPERM";
  }
}

/** When a process began, in the kernel's units; empty if unknown. */
function beganAt(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    return "";
  }
}
