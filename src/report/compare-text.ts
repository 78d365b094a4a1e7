import type { Change, DatasetComparison, GridRow, Stability } from "../eval/compare/compare.ts";
import type { ModelRow, Verdict } from "../eval/compare/row.ts";
import type { Interval } from "../eval/compare/stats.ts";
import type { CodeOutcome } from "../rewards/code/outcome.ts";
import { counted, formatFixed, formatNumber, formatPercent, formatSigned } from "../text/numbers.ts";

// Text that a comparison's terminal output and its page share.

export function interval({ mean, low, high }: Interval): string {
  return `${formatSigned(mean)} (${formatSigned(low)} to ${formatSigned(high)})`;
}

const FAILURES: Record<CodeOutcome, string> = {
  passed: "passed",
  wrong_answer: "wrong",
  runtime_error: "runtime",
  syntax_error: "syntax",
  timeout: "timeout",
  out_of_memory: "memory",
};

/**
 * A verdict as text: `5/8`; for a single completion `yes` or `no`; if none of several programs passed, `0/8 timeout`; if the
 * evaluation failed, `error`.
 */
export function verdict({ n_correct, n_total, failure }: Verdict): string {
  if (n_total === 0) return "error";
  const why = n_correct === 0 && failure ? FAILURES[failure] : "";
  if (n_total === 1) return n_correct === 1 ? "yes" : why || "no";
  return `${n_correct}/${n_total} ${why}`.trim();
}

/** Whether every problem has a single completion. The share of problems solved then equals pass@1. */
export function hasSingles({ grid }: DatasetComparison): boolean {
  return grid.every(({ verdicts }) => verdicts.every(({ n_total }) => n_total <= 1));
}

/** The k of the pass@k columns, 1 first. */
export function ksOf({ models }: DatasetComparison): string[] {
  return Object.keys(models[0].pass_at);
}

/** Names for narrow columns: only a checkpoint's step, if that is unique. */
export function shortNames(models: readonly ModelRow[]): string[] {
  const steps = models.map(({ name, step }) => (step !== null && name === `checkpoint-${step}` ? String(step) : name));
  return new Set(steps).size === steps.length ? steps : models.map(({ name }) => name);
}

/** A model and its verdict: `checkpoint-32 5/8`, or only the name if the model's single completion is correct. */
export function namedVerdict(name: string, own: Verdict): string {
  return own.n_total === 1 && own.n_correct === 1 ? name : `${name} ${verdict(own)}`;
}

/** Groups problems by whether all, some or none of the models solve them. */
export function bySolvers(grid: readonly GridRow[]): Record<"some" | "all" | "none", GridRow[]> {
  const kind = ({ verdicts }: GridRow) => {
    const solvers = verdicts.filter(({ n_correct }) => n_correct > 0).length;
    return solvers === 0 ? "none" : solvers === verdicts.length ? "all" : "some";
  };
  const of = (wanted: string) => grid.filter((row) => kind(row) === wanted);
  return { some: of("some"), all: of("all"), none: of("none") };
}

/** A problem, an earlier model, and the models whose verdict differs from it. */
interface ChangedProblem extends Pick<Change, "id" | "problem" | "before"> {
  models: { name: string; now: Verdict }[];
}

/** Changes, one line per problem. Problems that more completions had solved come first, because one of eight may be luck. */
export function changesByProblem(changes: readonly Change[]): ChangedProblem[] {
  const found = new Map<string, ChangedProblem>();
  for (const { id, problem, before, model, now } of changes) {
    const key = JSON.stringify([id, before.model]);
    const entry = found.get(key) ?? { id, problem, before, models: [] };
    entry.models.push({ name: model, now });
    found.set(key, entry);
  }
  const share = ({ before }: ChangedProblem) => before.n_correct / Math.max(1, before.n_total);
  return [...found.values()].sort((a, b) => share(b) - share(a));
}

/** `12 in checkpoint-16, 3 in checkpoint-32`. */
export function countsByModel(changes: readonly Change[], models: readonly ModelRow[]): string {
  const counts = models.map(({ name }) => [changes.filter(({ model }) => model === name).length, name] as const);
  const told = counts.filter(([count]) => count > 0).map(([count, name]) => `${count} in ${name}`);
  return told.length === 0 ? "none" : told.join(", ");
}

export function stabilitySentence({ models, flips, flipping, never, ...std }: Stability): string {
  const changing =
    flipping === 0
      ? "no problem changes its verdict"
      : `${formatPercent(never)} of the problems never change their verdict, ${flipping} do, ${counted(flips, "time")} in total`;
  return (
    `Stability from ${models[0]} to ${models.at(-1)}: ${changing}; standard deviation of pass@1 ` +
    `${formatFixed(std.std_pass_at_1)} points, of problems solved ${formatFixed(std.std_accuracy)}.`
  );
}

/** The best checkpoint by benchmark and by validation loss, and whether they agree. */
export function bestSentences({ best, base, models }: DatasetComparison): string[] {
  const { by_benchmark: benchmark, by_eval_loss: loss, beats_base, agree } = best;
  const above = beats_base || benchmark?.models.includes(base);
  const own = above ? "" : `, which is not above ${base} (${formatPercent(models[0].pass_at[1])})`;
  return [
    benchmark
      ? `Best by benchmark: ${named(benchmark.models)} pass@1 ${formatPercent(benchmark.value)}${own}.`
      : "Best by benchmark: none, because no completion is correct.",
    loss
      ? `Best by validation loss: ${named(loss.models)} eval_loss ${formatNumber(loss.value)}.`
      : "Best by validation loss: unknown, because fewer than two of these models are checkpoints with an eval_loss in their run's folder (--run names the folder).",
    ...(agree === null ? [] : [`Benchmark and validation loss ${agree ? "" : "do not "}agree.`]),
  ];
}

/** `a,` or `a and b, equal at`: names before a figure. */
function named(models: readonly string[]): string {
  return models.length === 1 ? `${models[0]},` : `${models.slice(0, -1).join(", ")} and ${models.at(-1)}, equal at`;
}
