import { existsSync, readdirSync, readFileSync, rmdirSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import type { Folder } from "../../io/storage.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import { UsageError } from "../args.ts";
import { holding } from "./hold.ts";

/** What tells a folder that an export left half done, or that did not pass, from one of somebody's own. */
export const MARK = "qwench-export.json";

interface Mark {
  /** what is exported and how, as JSON: another request does not go on from it */
  request: string;
  /** all files are there and were checked: only the name is missing */
  finished: boolean;
}

/** A folder that gets its name when all in it is there. */
export interface PendingFolder {
  /** to be written into: `NAME.partial`, beside where it will be */
  folder: Folder;
  /** Gives it its name. */
  finish(): Promise<void>;
  /** Removes it and all in it. */
  discard(): Promise<void>;
}

/**
 * Writes a folder under a name of its own, `PATH.partial`, so that a process that is killed leaves nothing under the final name.
 * What such a process left is finished where only its name was missing, else cleared away.
 *
 * @param request what is exported, as JSON
 * @param onNote told of what was cleared away
 * @param work writes the folder
 * @returns what `work` returns; null where an earlier process had done everything for the same request
 * @throws {UsageError} where `path` is there and not empty, or `path.partial` is somebody's own
 * @throws {BusyError} where another process writes there
 */
export async function writeFolder<T>(
  path: string,
  request: string,
  onNote: (note: string) => void,
  work: (pending: PendingFolder) => Promise<T>,
): Promise<T | null> {
  const target = resolve(path);
  const parent = nodeFolder(dirname(target));
  const claim = { name: basename(target), what: `export to ${path}`, instead: "name another --output" };
  return holding({ folder: parent, ...claim }, async () => {
    const pending = new Pending(path, target, request);
    return (await pending.begin(onNote)) ? null : work(pending);
  });
}

class Pending implements PendingFolder {
  readonly folder: Folder;
  private readonly path: string;
  private readonly target: string;
  private readonly request: string;
  private readonly parent: Folder;
  private readonly partial: string;

  constructor(path: string, target: string, request: string) {
    this.path = path;
    this.target = target;
    this.request = request;
    this.parent = nodeFolder(dirname(target));
    this.partial = `${basename(target)}.partial`;
    this.folder = this.parent.folder(this.partial);
  }

  /** @returns whether all was done before */
  async begin(onNote: (note: string) => void): Promise<boolean> {
    const { path, target, request, parent, partial, folder } = this;
    const named = markOf(target);
    if (named?.finished && named.request === request) {
      await nodeFolder(target).remove(MARK); // the process was killed right after it had given the name
      return true;
    }
    this.checkTarget();
    if (existsSync(folder.path)) {
      const mark = markOf(folder.path);
      if (mark?.finished && mark.request === request) {
        await this.name();
        return true;
      }
      const files = readdirSync(folder.path).filter((name) => !name.endsWith(".qwench-tmp"));
      if (mark === null && files.length > 0) {
        throw new UsageError(`Cannot write ${path}: ${folder.path} is there, and is no export's: remove or rename it`);
      }
      await parent.removeFolder(partial);
      onNote(`removed ${folder.path}, which an export left that did not end`);
    }
    await this.mark(false);
    return false;
  }

  readonly finish = async (): Promise<void> => {
    this.checkTarget(); // much time has passed
    await this.mark(true);
    await this.name();
  };

  readonly discard = (): Promise<void> => this.parent.removeFolder(this.partial);

  private async name(): Promise<void> {
    const { target, parent, partial } = this;
    if (existsSync(target)) rmdirSync(target); // it is empty
    await parent.rename(partial, basename(target));
    await nodeFolder(target).remove(MARK);
  }

  private mark(finished: boolean): Promise<void> {
    const mark: Mark = { request: this.request, finished };
    return this.folder.write(MARK, `${JSON.stringify(mark)}\n`);
  }

  private checkTarget(): void {
    const { path, target } = this;
    if (!existsSync(target)) return;
    if (!statSync(target).isDirectory())
      throw new UsageError(`Cannot write the folder ${path}: a file of that name is there`);
    if (readdirSync(target).length > 0) {
      throw new UsageError(`Cannot write ${path}: it is there and not empty; name another folder, or remove it`);
    }
  }
}

/** Null where the folder has none. A mark of an earlier version says that nothing is finished. */
function markOf(folder: string): Mark | null {
  try {
    const { request = "", finished = false } = JSON.parse(readFileSync(join(folder, MARK), "utf8"));
    return { request: String(request), finished: finished === true };
  } catch (error) {
    return (error as { code?: string }).code === undefined ? { request: "", finished: false } : null;
  }
}
