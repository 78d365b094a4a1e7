import { BusyError, QwenchError } from "../../errors.ts";
import type { LockableFolder } from "../../io/storage.ts";

/** What a command claims while it runs. */
interface Claim {
  folder: LockableFolder;
  /** the lock's file is `NAME.lock` */
  name: string;
  /** what the command does there, for people: `train in runs/a` */
  what: string;
  /** what else the user can do, for people: `name another --output_dir` */
  instead: string;
}

/**
 * Runs `work` while no other process may claim the same name. A claim whose process has died does not count.
 *
 * @throws {BusyError} another process has it: nothing was touched
 * @throws {QwenchError} a folder that this user may not write into, or that has no room
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
    throw new BusyError(`Cannot ${what}: process ${id} on ${host} is at work there. Wait until it ends, or ${instead}`);
  }
  try {
    return await work();
  } finally {
    await claim.release();
  }
}
