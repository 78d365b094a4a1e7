import { BusyError, NotFoundError, QuotaError, QwenchError } from "../../errors.ts";
import { formatFileSize } from "../../text/bytes.ts";

/** What the browser's storage has room for now. `check` throws QuotaError where `bytes` more would not fit. */
export async function roomLeft(): Promise<{ check(bytes: number, what: string): void }> {
  const { usage = 0, quota = Number.POSITIVE_INFINITY } = await navigator.storage.estimate();
  return {
    check(bytes, what) {
      if (bytes > quota - usage) throw new QuotaError(full(what, bytes, usage, quota));
    },
  };
}

/** What went wrong with the browser's storage, in a sentence; errors of Qwench's pass as they are. */
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
      // Chromium may notice the pipe that a full disk closed before it hears why
      if (bytes > quota - usage) return new QuotaError(full(what, bytes, usage, quota), { cause: error });
      return new QwenchError(`Cannot ${what}: ${message ?? error}`, { cause: error });
  }
}

function full(what: string, bytes: number, usage: number, quota: number): string {
  const free = Math.max(0, quota - usage);
  return `Cannot ${what}: the browser's storage for this site is full. ${formatFileSize(bytes)} are needed, ${formatFileSize(free)} of ${formatFileSize(quota)} are free. What was there before is intact; delete a model, a data set or a run, or free some of the disk`;
}
