import { BusyError, NotFoundError, QuotaError, QwenchError } from "../../errors.ts";
import { formatFileSize } from "../../text/bytes.ts";

/** The browser's free storage. `check` throws QuotaError if `bytes` more do not fit. */
export async function roomLeft(): Promise<{ check(bytes: number, what: string): void }> {
  const { usage = 0, quota = Number.POSITIVE_INFINITY } = await navigator.storage.estimate();
  return {
    check(bytes, what) {
      if (bytes > quota - usage) throw new QuotaError(full(what, bytes, usage, quota));
    },
  };
}

/** Turns an error of the browser's storage into a Qwench error with a clear message. Qwench errors pass unchanged. */
export async function explainStorage(error: unknown, what: string, bytes: number): Promise<unknown> {
  if (error instanceof QwenchError) return error;
  const { name, message } = error as Partial<DOMException>;
  const { usage = 0, quota = 0 } = await navigator.storage.estimate();
  switch (name) {
    case "QuotaExceededError":
      return new QuotaError(full(what, bytes, usage, quota), { cause: error });
    case "NotFoundError":
    case "TypeMismatchError":
      return new NotFoundError(`Cannot ${what}: there is no such file or folder`, { cause: error });
    case "NoModificationAllowedError":
    case "InvalidStateError":
      return new BusyError(`Cannot ${what}: another tab has the file open`, { cause: error });
    default:
      // if the disk is full, Chromium may report the closed pipe before the cause
      if (bytes > quota - usage) return new QuotaError(full(what, bytes, usage, quota), { cause: error });
      return new QwenchError(`Cannot ${what}: ${message ?? error}`, { cause: error });
  }
}

function full(what: string, bytes: number, usage: number, quota: number): string {
  const free = Math.max(0, quota - usage);
  if (bytes <= free) {
    // browsers compute the quota from an older state of the disk, and private windows have less
    return `Cannot ${what}: the browser refused to store ${formatFileSize(bytes)} more, although it reports ${formatFileSize(free)} of ${formatFileSize(quota)} as free. The disk may be full, or this may be a private window. Existing files are intact; delete a model, a data set or a run, or free some of the disk`;
  }
  return `Cannot ${what}: the browser's storage for this site is full. ${formatFileSize(bytes)} are needed, but only ${formatFileSize(free)} of ${formatFileSize(quota)} are free. Existing files are intact; delete a model, a data set or a run, or free some of the disk`;
}
