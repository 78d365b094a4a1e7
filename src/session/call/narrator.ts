import type { CallProgress, Report } from "./host.ts";

/** Least time between two events about the same work, in milliseconds. The last one of a work always comes. */
const PACE_MS = 100;

/** Turns reports of progress into events, while something else is awaited. */
export class Narrator {
  private readonly fresh = new Map<string, CallProgress>();
  private readonly told = new Map<string, number>();
  private wake: () => void = () => {};

  readonly report: Report = (what, done, total, unit) => {
    const now = Date.now();
    if (done !== total && now - (this.told.get(what) ?? 0) < PACE_MS) return;
    this.told.set(what, now);
    this.fresh.set(what, { type: "progress", what, done, total, unit });
    this.wake();
  };

  /** The session's reports: rows have no total, weights are bytes, and other work is counted in steps. */
  readonly onProgress = (what: string, done: number, total: number | null): void =>
    this.report(what, done, total, total === null ? "rows" : what === "weights" ? "bytes" : "steps");

  /** Awaits `work` and yields what is reported meanwhile. @returns its result @throws its error */
  async *during<T>(work: Promise<T>): AsyncGenerator<CallProgress, T> {
    let settled = false;
    const end = () => {
      settled = true;
      this.wake();
    };
    work.then(end, end);
    for (;;) {
      for (const [what, event] of this.fresh) {
        this.fresh.delete(what);
        yield event;
      }
      if (settled) return await work;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
        if (settled || this.fresh.size > 0) resolve();
      });
    }
  }
}

/**
 * The events of `run`. Leaving the loop early aborts its signal and waits until the run has ended, so that training saves a
 * checkpoint.
 *
 * @param outer the caller's signal
 */
export async function* stoppable<E>(
  outer: AbortSignal | undefined,
  run: (signal: AbortSignal) => AsyncGenerator<E>,
): AsyncGenerator<E, void> {
  const left = new AbortController();
  const events = run(outer ? AbortSignal.any([outer, left.signal]) : left.signal);
  let ended = false;
  try {
    for (;;) {
      const next = await events.next().catch((error: unknown) => {
        ended = true;
        throw error;
      });
      if (next.done) {
        ended = true;
        return;
      }
      yield next.value;
    }
  } finally {
    if (!ended) {
      left.abort();
      await drained(events);
    }
  }
}

async function drained(events: AsyncGenerator<unknown>): Promise<void> {
  try {
    while (!(await events.next()).done);
  } catch (error) {
    if ((error as Error).name !== "AbortError") throw error;
  }
}
