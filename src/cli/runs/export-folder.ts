import { existsSync, readdirSync, readFileSync, rmdirSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { BusyError } from "../../errors.ts";
import type { Folder } from "../../io/storage.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import { UsageError } from "../args.ts";

/** What tells a folder that an export left half done, or that did not pass, from one of somebody's own. */
export const MARK = "qwench-export.json";

/** A folder that gets its name when all in it is there. */
interface PendingFolder {
  /** to be written into: `NAME.partial`, beside where it will be */
  folder: Folder;
  /** Gives it its name. */
  finish(): Promise<void>;
  /** Removes it and all in it. */
  discard(): Promise<void>;
}

/**
 * Begins a folder under a name of its own, so that a process that is killed leaves nothing under the final name. Clears away
 * what such a one left.
 *
 * @param onNote told of what was cleared away
 * @throws {UsageError} where `path` is there and not empty, or `path.partial` is somebody's own
 * @throws {BusyError} where another process writes there
 */
export async function beginFolder(path: string, onNote: (note: string) => void): Promise<PendingFolder> {
  const target = resolve(path);
  const [parent, name] = [nodeFolder(dirname(target)), basename(target)];
  const partial = `${name}.partial`;
  const partialPath = join(parent.path, partial);
  checkTarget(path, target);
  if (existsSync(partialPath)) {
    const mark = join(partialPath, MARK);
    if (!existsSync(mark) && readdirSync(partialPath).length > 0) {
      throw new UsageError(`Cannot write ${path}: ${partialPath} is there, and is no export's: remove or rename it`);
    }
    const pid = existsSync(mark) ? pidOf(mark) : null;
    if (pid !== null && pid !== process.pid && isAlive(pid)) {
      throw new BusyError(`Cannot write ${path}: process ${pid} is exporting to it`);
    }
    await parent.removeFolder(partial);
    onNote(`removed ${partialPath}, which an export left that did not end`);
  }
  const folder = parent.folder(partial);
  await folder.write(MARK, `${JSON.stringify({ pid: process.pid })}\n`);
  return {
    folder,
    async finish() {
      checkTarget(path, target); // much time has passed
      if (existsSync(target)) rmdirSync(target); // it is empty
      await folder.remove(MARK);
      await parent.rename(partial, name);
    },
    discard: () => parent.removeFolder(partial),
  };
}

function checkTarget(path: string, target: string): void {
  if (!existsSync(target)) return;
  if (!statSync(target).isDirectory())
    throw new UsageError(`Cannot write the folder ${path}: a file of that name is there`);
  if (readdirSync(target).length > 0) {
    throw new UsageError(`Cannot write ${path}: it is there and not empty; name another folder, or remove it`);
  }
}

function pidOf(mark: string): number | null {
  try {
    const { pid } = JSON.parse(readFileSync(mark, "utf8"));
    return Number.isSafeInteger(pid) && pid > 0 ? pid : null;
  } catch {
    return null; // cut short while it was written
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as { code?: string }).code === "EPERM";
  }
}
