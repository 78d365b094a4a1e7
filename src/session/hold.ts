import { BusyError, QwenchError } from "../errors.ts";
import type { LockableFolder } from "../io/storage.ts";

/** A name that a command claims while it runs. */
interface Claim {
  folder: LockableFolder;
  /** the lock's file is `NAME.lock` */
  name: string;
  /** the command's activity, for messages: `train in runs/a` */
  what: string;
  /** the user's alternative, for messages: `name another --output_dir` */
  instead: string;
}

/**
 * Runs `work` while this process holds the claim. A claim of a dead process does not count.
 *
 * @throws {BusyError} another process holds the claim; nothing was changed
 * @throws {QwenchError} the folder is not writable or the disk is full
 */
export async function holding<T>({ folder, name, what, instead }: Claim, work: () => Promise<T>): Promise<T> {
  const claim = await folder.lock(name, what).catch((error: unknown) => {
    if (!(error instanceof QwenchError)) throw error;
    const reason = error.message.replace(/^Cannot lock .*?: /, "");
    throw new QwenchError(`Cannot ${what}: ${folder.path} cannot be written (${reason}). Free it, or ${instead}`, {
      cause: error,
    });
  });
  if ("owner" in claim) {
    const { id, host } = claim.owner;
    throw new BusyError(
      `Cannot ${what}: process ${id} on ${host} is already working there. Wait until that process ends, or ${instead}`,
    );
  }
  try {
    return await work();
  } finally {
    await claim.release();
  }
}
