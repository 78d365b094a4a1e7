import { existsSync, readdirSync, readFileSync, rmdirSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import type { Folder } from "../../io/storage.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import { holding } from "../../session/hold.ts";
import { UsageError } from "../args.ts";

/** A file that marks a folder as an unfinished or failed export, not the user's own folder. */
export const MARK = "qwench-export.json";

interface Mark {
  /** the export request as JSON; only an equal request can finish the folder */
  request: string;
  /** whether all files are written and checked, so that only the rename is missing */
  finished: boolean;
}

/** A folder that gets its final name when it is complete. */
export interface PendingFolder {
  /** the folder to write into: `NAME.partial`, beside the final folder */
  folder: Folder;
  /** Renames it to its final name. */
  finish(): Promise<void>;
  /** Deletes it with its contents. */
  discard(): Promise<void>;
}

/**
 * Writes a folder as `PATH.partial`, so that a killed process leaves nothing under the final name. A folder that such a process
 * left is renamed if only the rename was missing, and deleted otherwise.
 *
 * @param request the export request as JSON
 * @param onNote receives a note about deleted folders
 * @param work writes the folder
 * @returns the result of `work`, or null if an earlier process had completed the same request
 * @throws {UsageError} if `path` exists and is not empty, or `path.partial` is not from an export
 * @throws {BusyError} if another process is writing there
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

  /** @returns whether the export was already complete */
  async begin(onNote: (note: string) => void): Promise<boolean> {
    const { path, target, request, parent, partial, folder } = this;
    const named = markOf(target);
    if (named?.finished && named.request === request) {
      await nodeFolder(target).remove(MARK); // the process was killed just after the rename
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
        throw new UsageError(
          `Cannot write ${path}: ${folder.path} exists and is not from an export: remove or rename it`,
        );
      }
      await parent.removeFolder(partial);
      onNote(`removed ${folder.path}, which an unfinished export had left`);
    }
    await this.mark(false);
    return false;
  }

  readonly finish = async (): Promise<void> => {
    this.checkTarget(); // the export may have taken long
    await this.mark(true);
    await this.name();
  };

  readonly discard = (): Promise<void> => this.parent.removeFolder(this.partial);

  private async name(): Promise<void> {
    const { target, parent, partial } = this;
    if (existsSync(target)) rmdirSync(target); // the folder is empty
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
      throw new UsageError(`Cannot write the folder ${path}: a file with that name exists`);
    if (readdirSync(target).length > 0) {
      throw new UsageError(`Cannot write ${path}: it exists and is not empty; name another folder, or remove it`);
    }
  }
}

/** The folder's mark, or null. A mark from an earlier version counts as unfinished. */
function markOf(folder: string): Mark | null {
  try {
    const { request = "", finished = false } = JSON.parse(readFileSync(join(folder, MARK), "utf8"));
    return { request: String(request), finished: finished === true };
  } catch (error) {
    return (error as { code?: string }).code === undefined ? { request: "", finished: false } : null;
  }
}
