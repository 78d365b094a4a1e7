import { BusyError } from "../../src/errors.ts";

/** The training lock, shared by all tabs of this site. */
const TRAINING_LOCK = "qwench-training";
const runLock = (id: string) => `qwench-run-${id}`;

/** Milliseconds to wait for a worker that has just ended and may still hold its locks. */
const PATIENCE_MS = 4000;

/**
 * Takes a Web Lock. One tab at a time holds it, and the browser releases it when the tab dies.
 *
 * @returns a function that releases the lock
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

/** Takes the training lock and the lock of one run. @throws {BusyError} another tab is training */
export async function lockTraining(id: string): Promise<() => Promise<void>> {
  const why = "Another tab of this site is training, and the GPU runs one training at a time: pause that run first";
  const training = await takeLock(TRAINING_LOCK, why);
  const run = await takeLock(runLock(id), why);
  return async () => {
    await run();
    await training();
  };
}

/** Runs that a tab is training now. */
export async function runsHeld(): Promise<Set<string>> {
  if (!navigator.locks) return new Set(); // absent in an insecure context, where nothing can train
  const { held = [] } = await navigator.locks.query();
  const start = runLock("");
  return new Set(held.flatMap(({ name }) => (name?.startsWith(start) ? name.slice(start.length) : [])));
}
