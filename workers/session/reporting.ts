import { AbortError } from "../../src/errors.ts";

/** Milliseconds between two reports, about as often as a display needs. */
const PACE_MS = 100;

/**
 * Runs work as an iteration over its reports, in order. Of unread progress, only the newest is kept.
 *
 * @returns the work's result
 */
export async function* reporting<E extends { type: string }, R>(
  work: (report: (event: E) => void) => Promise<R>,
): AsyncGenerator<E, R> {
  const unread: E[] = [];
  let settled = false;
  let wake = () => {};
  const done = work((event) => {
    if (event.type === "progress" && unread.at(-1)?.type === "progress") unread.pop();
    unread.push(event);
    wake();
  }).finally(() => {
    settled = true;
    wake();
  });
  done.catch(() => {}); // awaited below
  for (;;) {
    const event = unread.shift();
    if (event) {
      yield event;
      if (!settled && unread.length === 0)
        await Promise.race([done.catch(() => {}), new Promise((resolve) => setTimeout(resolve, PACE_MS))]);
    } else if (settled) return await done;
    else await new Promise<void>((resolve) => (wake = resolve));
  }
}

/**
 * An iteration for another thread. Leaving the loop aborts the work, and waits until the work has saved its state and ended.
 *
 * @param asked the caller's signal
 */
export function stoppable<T>(
  work: (signal: AbortSignal) => AsyncGenerator<T>,
  asked?: AbortSignal | null,
): AsyncIterableIterator<T> {
  const control = new AbortController();
  const signal = asked ? AbortSignal.any([asked, control.signal]) : control.signal;
  const events = work(signal);
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    next: () => events.next(),
    async return() {
      control.abort(new AbortError("Stopped: the caller has left the iteration"));
      try {
        while (!(await events.next()).done);
      } catch (error) {
        if (!(error instanceof AbortError)) throw error;
      }
      return { done: true, value: undefined };
    },
  };
}
