import { TrainingError } from "../errors.ts";
import type { LogRecord } from "./metrics.ts";

/** Fields of a recipe that say which evaluation is better. */
interface BestFields {
  metric_for_best_model: string | null;
  greater_is_better: boolean | null;
}

/** The metric that evaluations are compared by: `metric_for_best_model`, or the method's own. */
export function comparedBy(recipe: BestFields, fallback: string): { name: string; greater: boolean } {
  const metric = recipe.metric_for_best_model ?? fallback;
  const name = metric.startsWith("eval_") ? metric : `eval_${metric}`;
  return { name, greater: recipe.greater_is_better ?? !name.endsWith("loss") };
}

/** An evaluation's value of the metric; null where rewards scored nothing. @throws {TrainingError} no such metric */
export function metricOf(record: LogRecord, name: string): number | null {
  const value = record[name];
  if (value !== undefined) return value;
  // rewards that scored nothing log nothing, so nothing can be compared
  if (/^eval_rewards?(?:_std$|$|\/)/.test(name)) return null;
  throw new TrainingError(
    `There is no metric ${name} for metric_for_best_model; evaluation reports ${Object.keys(record).join(", ")}`,
  );
}
