import { TrainingError } from "../errors.ts";
import type { TrainerState } from "./checkpoint.ts";
import type { LogRecord } from "./metrics.ts";

/** Compares an evaluation by `metric_for_best_model`, or the method's own metric, and remembers the better one. */
export function isBest(
  record: LogRecord,
  recipe: { metric_for_best_model: string | null; greater_is_better: boolean | null },
  state: TrainerState,
  fallback: string,
): boolean {
  const metric = recipe.metric_for_best_model ?? fallback;
  const name = metric.startsWith("eval_") ? metric : `eval_${metric}`;
  const value = record[name];
  // rewards that scored nothing log nothing, so nothing can be compared
  if (value === undefined && /^eval_rewards?(?:_std$|$|\/)/.test(name)) return false;
  if (value === undefined)
    throw new TrainingError(
      `There is no metric ${name} for metric_for_best_model; evaluation reports ${Object.keys(record).join(", ")}`,
    );
  const greater = recipe.greater_is_better ?? !name.endsWith("loss");
  if (state.best_metric !== null && (greater ? value <= state.best_metric : value >= state.best_metric)) return false;
  state.best_metric = value;
  return true;
}
