import { createHash } from "node:crypto";
import { promises as fs, readFileSync } from "node:fs";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import type { Lock, LockOwner } from "../../io/storage.ts";

/** Milliseconds between two signs of life of an owner, and after how many without one it counts as dead. */
const BEAT_MS = 5_000;
const DEAD_MS = 60_000;

interface Written extends LockOwner {
  /** when the process began: an id is given to others once its process has ended */
  began: string;
}

/**
 * Takes the lock file `path`, unless a living process has it.
 *
 * The owner's process id says whether it lives, on this host; on another host, or in another container, its last sign of
 * life does: an owner touches its file every 5 s.
 *
 * @throws what the file system says, where the lock cannot be written
 */
export async function takeFileLock(path: string, what: string): Promise<Lock | { owner: LockOwner }> {
  const mine: Written = { id: String(process.pid), host: hostname(), what, began: beganAt(process.pid) };
  const folder = dirname(path);
  let made: string | undefined;
  for (let tries = 0; tries < 200; tries++) {
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

/** Tells this host's temporary files from those of others: process ids mean nothing there. */
export const HOST_TAG = createHash("sha256").update(hostname()).digest("hex").slice(0, 6);

/** The hidden name under which what will be `path` is written. */
export function temporaryBeside(path: string): string {
  const random = Math.random().toString(36).slice(2, 10) || "0";
  return join(dirname(path), `.${basename(path)}.${process.pid}-${HOST_TAG}${random}.qwench-tmp`);
}

/** What file systems say that have no hard links. */
const NO_LINKS = ["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL", "EMLINK"];

/**
 * Makes the file with all of its text, where there is none. In one step, so that a process that is killed meanwhile leaves no
 * lock without an owner's name, which others would take for a living one's.
 *
 * @returns whether it was made
 */
async function create(path: string, text: string): Promise<boolean> {
  const half = temporaryBeside(path);
  try {
    await fs.writeFile(half, text, { flag: "wx" });
    await fs.link(half, path);
    return true;
  } catch (error) {
    const { code = "" } = error as { code?: string };
    if (code === "EEXIST" || code === "ENOENT") return false; // another has it, or has removed the folder
    if (!NO_LINKS.includes(code)) throw error;
  } finally {
    await fs.unlink(half).catch(() => {});
  }
  return createSlowly(path, text);
}

/** The same where there are no hard links: in two steps. */
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

/** Removes what killed processes left of `create`. */
async function removeHalves(path: string): Promise<void> {
  const folder = dirname(path);
  for (const name of await fs.readdir(folder).catch(() => [])) {
    if (!name.startsWith(`.${basename(path)}.`)) continue;
    const pid = /\.(\d+)-[0-9a-z]+\.qwench-tmp$/.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) await fs.unlink(join(folder, name)).catch(() => {});
  }
}

/** Milliseconds after which who was to remove a dead lock must have been ended in the middle of it. */
const REMOVING_MS = 10_000;

/** Removes the lock of a dead owner. One at a time: else the second would remove the lock that the first has just made. */
async function removeDead(path: string): Promise<void> {
  const removing = `${path}.removing`;
  try {
    await (await fs.open(removing, "wx")).close();
  } catch {
    const stat = await fs.stat(removing).catch(() => null);
    if (stat && Date.now() - stat.mtimeMs > REMOVING_MS) await fs.unlink(removing).catch(() => {});
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

/** @param made the folder, where it was made for the lock: it goes with the lock when nothing came into it */
function held(path: string, mine: Written, made: string | null): Lock {
  const beat = setInterval(() => {
    const now = new Date();
    fs.utimes(path, now, now).catch(() => {}); // where the file is gone, release says nothing either
  }, BEAT_MS);
  beat.unref?.();
  return {
    async release() {
      clearInterval(beat);
      const found = await read(path);
      // taken over by another, while this process was stopped for long: its lock now
      if (found && found.id === mine.id && found.host === mine.host) await fs.unlink(path).catch(() => {});
      if (made !== null) await fs.rmdir(made).catch(() => {}); // it is not empty, as a rule
    },
  };
}

/** Null where there is no such file. A half-written lock is its writer's, who is just taking it. */
async function read(path: string): Promise<Written | null> {
  try {
    const text = await fs.readFile(path, "utf8");
    const { id, host, what, began } = JSON.parse(text);
    return { id: String(id), host: String(host), what: String(what).slice(0, 200), began: String(began) };
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return null;
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

/** Whether a process of this host lives. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as { code?: string }).code === "EPERM";
  }
}

/** When a process began, in the kernel's own count; empty where it does not say. */
function beganAt(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    return "";
  }
}
