import { AbortError } from "../../errors.ts";

/** Exit code of a command that Ctrl-C or SIGTERM ended. */
export const EXIT_INTERRUPTED = 130;

/**
 * Runs `body` with a signal that Ctrl-C and SIGTERM abort. A second Ctrl-C or SIGTERM ends the process immediately.
 *
 * @param told message for the first interruption
 */
export async function interruptible(body: (signal: AbortSignal) => Promise<number>, told?: string): Promise<number> {
  const abort = new AbortController();
  const onInterrupt = () => {
    if (abort.signal.aborted) process.exit(EXIT_INTERRUPTED);
    abort.abort(new AbortError("Interrupted"));
    if (told) console.error(told);
  };
  process.on("SIGINT", onInterrupt);
  process.on("SIGTERM", onInterrupt);
  try {
    return await body(abort.signal);
  } finally {
    process.off("SIGINT", onInterrupt);
    process.off("SIGTERM", onInterrupt);
  }
}
