import type { CodeOutcome } from "../../rewards/code/outcome.ts";
import { passAtK } from "../solve.ts";
import type { Evaluation, Judged } from "./file.ts";
import type { Place } from "./names.ts";
import type { SharedProblem } from "./problems.ts";
import { type Interval, mean } from "./stats.ts";

/** Program outcomes, best first. */
export const OUTCOMES: readonly CodeOutcome[] = [
  "passed",
  "wrong_answer",
  "runtime_error",
  "syntax_error",
  "timeout",
  "out_of_memory",
];

/** A model's results on a data set. Shares are percentages of the problems that all compared models share. */
export interface ModelRow extends Place {
  file: string;
  /** number of problems that at least one completion solved */
  solved: number;
  accuracy: number;
  /** unbiased estimates by k; null if a problem has fewer completions */
  pass_at: Record<string, number | null>;
  /** null if tests decide, or the file does not say */
  majority_accuracy: number | null;
  /** tokens per completion; null if the file does not say */
  avg_completion_tokens: number | null;
  /** problems on which the evaluation itself failed; they count as not solved */
  failed: number;
  /** percent of problems solved, by source */
  source_accuracies: Record<string, number>;
  /** pass@1 by difficulty, if problems have one */
  difficulty_accuracies: Record<string, number>;
  /** programs by outcome, if tests decide */
  outcomes: Record<CodeOutcome, number> | null;
  /** percentage points above the base, with a 95 % interval; null for the base */
  improvement: { accuracy: Interval; pass_at_1: Interval } | null;
  /** the checkpoint's loss on held-out rows; null if unknown */
  eval_loss: number | null;
}

/** A model's result on a problem. */
export interface Verdict {
  n_correct: number;
  /** 0 if the evaluation failed on this problem */
  n_total: number;
  /** the most frequent outcome of programs that did not pass, if tests decide */
  failure?: CodeOutcome;
}

export const shareOf = ({ n_correct, n_total }: Verdict) => (n_total === 0 ? 0 : (100 * n_correct) / n_total);

export function verdictOf({ n_correct, n_total, outcomes }: Judged): Verdict {
  const failed = countsOf(outcomes ?? []);
  const [first, ...others] = OUTCOMES.slice(1);
  const failure = others.reduce((most, outcome) => (failed[outcome] > failed[most] ? outcome : most), first);
  return { n_correct, n_total, ...(failed[failure] > 0 && { failure }) };
}

function countsOf(programs: readonly CodeOutcome[]): Record<CodeOutcome, number> {
  const counts = OUTCOMES.map((outcome) => [outcome, programs.filter((own) => own === outcome).length]);
  return Object.fromEntries(counts) as Record<CodeOutcome, number>;
}

/** A model's figures on the shared problems. @param m its index among the evaluations */
export function rowOf(
  evaluation: Evaluation,
  place: Place,
  shared: readonly SharedProblem[],
  m: number,
  ks: readonly number[],
): ModelRow {
  const judged = shared.map((problem) => problem.judged[m]);
  const solved = judged.filter((each) => each.solved).length;
  const tried = judged.filter(({ n_total }) => n_total > 0);
  const percent = (values: readonly number[]) => 100 * mean(values);
  const passAt = (k: number) =>
    tried.some(({ n_total }) => n_total < k)
      ? null
      : percent(judged.map(({ n_correct, n_total }) => (n_total === 0 ? 0 : passAtK(n_total, n_correct, k))));
  const votes = judged.map(({ majority, n_total }) => (n_total === 0 ? false : majority));
  const told = tried.filter(({ output_tokens }) => output_tokens !== null);
  const tokens = told.reduce((sum, { output_tokens }) => sum + output_tokens!, 0);
  const programs = judged.flatMap(({ outcomes }) => outcomes ?? []);
  const by = (groupOf: (problem: SharedProblem) => string | null, value: (each: Judged) => number) => {
    const groups = [...new Set(shared.map(groupOf))].filter((group) => group !== null);
    const inOrder = groups.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const own = (group: string) => judged.filter((_, p) => groupOf(shared[p]) === group);
    return Object.fromEntries(inOrder.map((group) => [group, mean(own(group).map(value))]));
  };
  return {
    ...place,
    file: evaluation.file,
    solved,
    accuracy: (100 * solved) / judged.length,
    pass_at: Object.fromEntries(ks.map((k) => [k, passAt(k)])),
    majority_accuracy: votes.includes(null) || tried.length === 0 ? null : percent(votes.map(Number)),
    avg_completion_tokens: told.length === 0 ? null : tokens / told.reduce((sum, { n_total }) => sum + n_total, 0),
    failed: judged.length - tried.length,
    source_accuracies: by(
      ({ source }) => source,
      (each) => (each.solved ? 100 : 0),
    ),
    difficulty_accuracies: by(({ difficulty }) => difficulty, shareOf),
    outcomes: programs.length === 0 ? null : countsOf(programs),
    improvement: null,
    eval_loss: evaluation.eval_loss,
  };
}
