/** A log of a run: its step and its numbers by name. */
export interface TrackedLog {
  step: number;
  [name: string]: unknown;
}

/**
 * The finite numbers of a log by the names that transformers' callbacks send to trackers: `eval_loss` is `eval/loss`,
 * every other name is below `train/`. Source: transformers, integrations/integration_utils.py, rewrite_logs.
 */
export function trackedValues({ step: _, ...values }: TrackedLog): [name: string, value: number][] {
  return Object.entries(values).flatMap(([name, value]): [string, number][] => {
    if (typeof value !== "number" || !Number.isFinite(value)) return [];
    return [[name.startsWith("eval_") ? `eval/${name.slice("eval_".length)}` : `train/${name}`, value]];
  });
}
