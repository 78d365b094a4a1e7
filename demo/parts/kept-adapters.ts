import type { RunCheckpoint } from "../../src/client/types.ts";
import type { App } from "../app.ts";
import type { Run } from "../run.ts";

/**
 * Calls `tell` with the adapters that a run keeps, now and after each event that can change them. Says nothing if they cannot be read:
 * their use reports what is wrong.
 */
export function watchKept(app: App, run: Run, signal: AbortSignal, tell: (kept: RunCheckpoint[]) => void): void {
  let seen = "";
  run.watch(signal, () => {
    const now = [run.saved, run.activity, run.record.phase, run.record.status].join();
    if (now === seen) return;
    seen = now;
    app.trainer.runs.checkpoints(run.id).then(
      (kept) => {
        if (!signal.aborted && now === seen) tell(kept);
      },
      () => {},
    );
  });
}

/** Whether a run without adapters will never have one. */
export const neverKept = (run: Run) => ["finished", "stopped"].includes(run.record.status);
