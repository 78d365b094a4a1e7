import { BusyError } from "../../src/errors.ts";

/** The one lock of training, for all tabs of this site. */
const TRAINING_LOCK = "qwench-training";
const runLock = (id: string) => `qwench-run-${id}`;

/** A worker that was ended a moment ago may still hold its locks. */
const PATIENCE_MS = 4000;

/**
 * Takes a Web Lock: one tab at a time has it, and the browser takes it from a tab that dies.
 *
 * @returns gives it back
 * @throws {BusyError} with `why`
 */
export function takeLock(name: string, why: string): Promise<() => Promise<void>> {
  return new Promise((resolve, reject) => {
    const held: Promise<unknown> = navigator.locks
      .request(
        name,
        { signal: AbortSignal.timeout(PATIENCE_MS) },
        () =>
          new Promise<void>((release) =>
            resolve(async () => {
              release();
              await held;
            }),
          ),
      )
      .catch((error) => reject((error as Error).name === "TimeoutError" ? new BusyError(why) : error));
  });
}

/** Takes the lock of training and that of one run. @throws {BusyError} another tab trains */
export async function lockTraining(id: string): Promise<() => Promise<void>> {
  const why = "Another tab of this site trains, and the GPU does one training at a time: pause that one first";
  const training = await takeLock(TRAINING_LOCK, why);
  const run = await takeLock(runLock(id), why);
  return async () => {
    await run();
    await training();
  };
}

/** Runs that some tab trains now. */
export async function runsHeld(): Promise<Set<string>> {
  if (!navigator.locks) return new Set(); // on a page that is not secure, where nothing trains
  const { held = [] } = await navigator.locks.query();
  const start = runLock("");
  return new Set(held.flatMap(({ name }) => (name?.startsWith(start) ? name.slice(start.length) : [])));
}
