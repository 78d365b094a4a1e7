import { QwenchError } from "../errors.ts";
import type { CodeOutcome } from "../rewards/code/outcome.ts";
import { type Evaluation, SAMPLING } from "./compare-file.ts";
import { type Place, placesOf, sequencesOf } from "./compare-names.ts";
import { type SharedProblem, sharedProblems } from "./compare-problems.ts";
import { bootstrapMeans, countFlips, type Flips, type Interval, mean, standardDeviation } from "./compare-stats.ts";
import { passAtK } from "./solve.ts";

/** Programs by what came of them, best first. */
export const OUTCOMES: readonly CodeOutcome[] = [
  "passed",
  "wrong_answer",
  "runtime_error",
  "syntax_error",
  "timeout",
  "out_of_memory",
];

/** A model on a data set. Shares are percent, of the problems that all its rivals have too. */
export interface ModelRow extends Place {
  file: string;
  /** problems that any completion solved */
  solved: number;
  accuracy: number;
  /** unbiased estimates by k; null where a problem has fewer completions */
  pass_at: Record<string, number | null>;
  /** null where tests decide, or the file does not tell */
  majority_accuracy: number | null;
  /** tokens of one completion; null where the file does not tell */
  avg_completion_tokens: number | null;
  /** problems on which the evaluation itself failed: they count as not solved */
  failed: number;
  /** percent of problems solved, by source */
  source_accuracies: Record<string, number>;
  /** programs by outcome, where tests decide */
  outcomes: Record<CodeOutcome, number> | null;
  /** percent points above the base, with a 95 % interval; null for the base */
  improvement: { accuracy: Interval; pass_at_1: Interval } | null;
  /** loss on held-out rows when the checkpoint was saved; null where that is not known */
  eval_loss: number | null;
}

export interface Count {
  n_correct: number;
  n_total: number;
}

export interface GridRow {
  id: string;
  source: string;
  /** the line that tells the problem */
  problem: string;
  difficulty: string | null;
  /** of each model, in the order of the rows */
  verdicts: Count[];
}

/** A problem whose verdict differs from an earlier one. */
export interface Change {
  /** the model now, and its verdict */
  model: string;
  id: string;
  problem: string;
  now: Count;
  /** what the verdict is compared with: for a regression the last that solved it, for a gain the base */
  before: Count & { model: string };
}

/** A run's checkpoints taken together. */
export interface Stability extends Flips {
  models: string[];
  /** standard deviations across the models, percent points */
  std_pass_at_1: number;
  std_accuracy: number;
}

/** Several models, when they are as good. */
interface Best {
  value: number;
  models: string[];
}

export interface DatasetComparison {
  dataset: string;
  problems: number;
  base: string;
  models: ModelRow[];
  grid: GridRow[];
  /** solved by the base or an earlier checkpoint of the same run, and not now */
  regressions: Change[];
  /** solved now, and not by the base */
  gains: Change[];
  stability: Stability[];
  best: {
    /** by pass@1 */
    by_benchmark: Best;
    /** whether it is above the base's */
    beats_base: boolean;
    /** null where fewer than two checkpoints have an eval_loss */
    by_eval_loss: Best | null;
    /** whether a checkpoint is best by both; null where there is no eval_loss */
    agree: boolean | null;
  };
}

export interface Comparison {
  seed: number;
  resamples: number;
  notes: string[];
  datasets: DatasetComparison[];
}

export interface CompareOptions {
  /** name or file of the model that the others are measured against; default that of the first evaluation */
  base?: string;
  /** of the bootstrap */
  seed?: number;
  resamples?: number;
}

/**
 * Compares evaluations, a data set at a time, on the problems that all models have.
 *
 * @param evaluations at least two
 * @throws {QwenchError} no model is called `base`; nothing can be compared: no problem in common, no data set with two
 *   evaluations
 */
export function compareEvaluations(
  evaluations: readonly Evaluation[],
  { base, seed = 0, resamples = 10_000 }: CompareOptions = {},
): Comparison {
  const places = placesOf(evaluations);
  const first = base === undefined ? 0 : places.findIndex(({ name }, i) => [name, evaluations[i].file].includes(base));
  if (first < 0) {
    throw new QwenchError(`There is no model ${base} for --base: there are ${listed(places.map(({ name }) => name))}`);
  }
  const baseName = places[first].name;
  const notes: string[] = [];
  const datasets: DatasetComparison[] = [];
  for (const group of groupsOf(evaluations, notes)) {
    if (group.length < 2) {
      const { dataset } = evaluations[group[0]];
      notes.push(`${dataset}: only ${places[group[0]].name} was evaluated, there is nothing to compare it with`);
      continue;
    }
    const own = inOrder(group, places, baseName, notes, evaluations);
    const compared = compareDataset(
      own.map((i) => evaluations[i]),
      own.map((i) => places[i]),
      { seed, resamples, notes },
    );
    datasets.push(compared);
  }
  if (datasets.length === 0) {
    const found = evaluations.map(({ file, dataset }) => `${file} ${dataset}`);
    throw new QwenchError(`Cannot compare evaluations of different data sets: ${found.join(", ")}`);
  }
  return { seed, resamples, notes, datasets };
}

/** Evaluations by data set; all together where no two share its name, but some share problems. */
function groupsOf(evaluations: readonly Evaluation[], notes: string[]): number[][] {
  const names = [...new Set(evaluations.map(({ dataset }) => dataset))];
  const groups = names.map((name) => evaluations.flatMap(({ dataset }, i) => (dataset === name ? [i] : [])));
  if (names.length === 1 || groups.some(({ length }) => length > 1)) return groups;
  const [first, ...others] = evaluations.map(({ problems }) => new Set(problems.map(({ problem }) => problem.trim())));
  if (!others.every((other) => [...other].some((problem) => first.has(problem)))) return groups;
  notes.push(`${names.join(", ")}: names differ, but they share problems and are compared as one data set`);
  return [evaluations.map((_, i) => i)];
}

/** The base, then run after run in the order of training. */
function inOrder(
  group: readonly number[],
  places: readonly Place[],
  baseName: string,
  notes: string[],
  evaluations: readonly Evaluation[],
): number[] {
  const found = group.find((i) => places[i].name === baseName);
  const base = found ?? group[0];
  if (found === undefined) {
    const { dataset } = evaluations[base];
    notes.push(`${dataset}: ${baseName} was not evaluated, ${places[base].name} is the base there`);
  }
  const ordered = sequencesOf(group.map((i) => places[i])).flatMap((indices) => indices.map((i) => group[i]));
  return [base, ...ordered.filter((i) => i !== base)];
}

/** @param evaluations of one data set, the base first */
function compareDataset(
  evaluations: readonly Evaluation[],
  places: readonly Place[],
  { seed, resamples, notes }: { seed: number; resamples: number; notes: string[] },
): DatasetComparison {
  const names = places.map(({ name }) => name);
  const { dataset } = evaluations[0];
  const shared = sharedProblems(evaluations, names);
  notes.push(...partNotes(dataset, evaluations, names, shared.length), ...settingNotes(dataset, evaluations, names));

  const shares = places.map((_, m) => Float64Array.from(shared, ({ judged }) => shareOf(judged[m])));
  const solved = places.map((_, m) => Float64Array.from(shared, ({ judged }) => (judged[m].solved ? 100 : 0)));
  const above = (columns: readonly Float64Array[]) =>
    columns.slice(1).map((column) => column.map((value, p) => value - columns[0][p]));
  const differences = [...above(solved), ...above(shares)];
  const intervals = bootstrapMeans(differences, seed, resamples);

  const ks = [...new Set([1, ...evaluations.flatMap((evaluation) => evaluation.ks)])].sort((a, b) => a - b);
  const models = places.map((place, m): ModelRow => {
    const row = rowOf(evaluations[m], place, shared, m, ks);
    if (m === 0) return row;
    return { ...row, improvement: { accuracy: intervals[m - 1], pass_at_1: intervals[places.length - 2 + m] } };
  });
  for (const { name, failed } of models) {
    if (failed === 0) continue;
    const problems = failed === 1 ? "1 problem, which counts" : `${failed} problems, which count`;
    notes.push(`${dataset}: the evaluation of ${name} failed on ${problems} as not solved`);
  }
  const sequences = sequencesOf(places);
  return {
    dataset,
    problems: shared.length,
    base: names[0],
    models,
    grid: shared.map(({ id, source, line, difficulty, judged }) => ({
      id,
      source,
      problem: line,
      difficulty,
      verdicts: judged.map(countOf),
    })),
    regressions: sequences.flatMap((sequence) => regressionsOf(sequence, shared, names)),
    gains: names.slice(1).flatMap((_, i) => gainsOf(i + 1, shared, names)),
    stability: sequences
      .filter(({ length }) => length > 1)
      .map((sequence) => ({
        models: sequence.map((m) => names[m]),
        ...countFlips(sequence.map((m) => shared.map(({ judged }) => judged[m].solved))),
        std_pass_at_1: standardDeviation(sequence.map((m) => mean(shares[m]))),
        std_accuracy: standardDeviation(sequence.map((m) => mean(solved[m]))),
      })),
    best: bestOf(models),
  };
}

const shareOf = ({ n_correct, n_total }: Count) => (n_total === 0 ? 0 : (100 * n_correct) / n_total);
const countOf = ({ n_correct, n_total }: Count): Count => ({ n_correct, n_total });

function rowOf(
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
  const sources = [...new Set(shared.map(({ source }) => source))];
  return {
    ...place,
    file: evaluation.file,
    solved,
    accuracy: (100 * solved) / judged.length,
    pass_at: Object.fromEntries(ks.map((k) => [k, passAt(k)])),
    majority_accuracy: votes.includes(null) || tried.length === 0 ? null : percent(votes.map(Number)),
    avg_completion_tokens: told.length === 0 ? null : tokens / told.reduce((sum, { n_total }) => sum + n_total, 0),
    failed: judged.length - tried.length,
    source_accuracies: Object.fromEntries(
      sources.map((source) => [
        source,
        percent(judged.filter((_, p) => shared[p].source === source).map((each) => Number(each.solved))),
      ]),
    ),
    outcomes:
      programs.length === 0
        ? null
        : (Object.fromEntries(
            OUTCOMES.map((outcome) => [outcome, programs.filter((own) => own === outcome).length]),
          ) as Record<CodeOutcome, number>),
    improvement: null,
    eval_loss: evaluation.eval_loss,
  };
}

/** What each model of a run lost of what the base or an earlier one had; the base is number 0. */
function regressionsOf(
  sequence: readonly number[],
  shared: readonly SharedProblem[],
  names: readonly string[],
): Change[] {
  return sequence.flatMap((m, at) => {
    if (m === 0) return [];
    const earlier = [...new Set([0, ...sequence.slice(0, at)])].reverse();
    return shared.flatMap(({ id, line, judged }) => {
      const last = judged[m].solved ? undefined : earlier.find((b) => judged[b].solved);
      if (last === undefined) return [];
      return [
        {
          model: names[m],
          id,
          problem: line,
          now: countOf(judged[m]),
          before: { model: names[last], ...countOf(judged[last]) },
        },
      ];
    });
  });
}

function gainsOf(m: number, shared: readonly SharedProblem[], names: readonly string[]): Change[] {
  return shared
    .filter(({ judged }) => judged[m].solved && !judged[0].solved)
    .map(({ id, line, judged }) => ({
      model: names[m],
      id,
      problem: line,
      now: countOf(judged[m]),
      before: { model: names[0], ...countOf(judged[0]) },
    }));
}

/** Of the checkpoints, or of all but the base where there are not two. */
function bestOf(models: readonly ModelRow[]): DatasetComparison["best"] {
  const checkpoints = models.filter(({ run }) => run !== null);
  const rivals = checkpoints.length > 1 ? checkpoints : models.slice(1);
  const by_benchmark = extreme(rivals, ({ pass_at }) => pass_at[1]!, Math.max);
  const measured = rivals.filter(({ eval_loss }) => eval_loss !== null);
  const by_eval_loss = measured.length < 2 ? null : extreme(measured, ({ eval_loss }) => eval_loss!, Math.min);
  return {
    by_benchmark,
    beats_base: by_benchmark.value > models[0].pass_at[1]! + DUST,
    by_eval_loss,
    agree: by_eval_loss === null ? null : by_eval_loss.models.some((name) => by_benchmark.models.includes(name)),
  };
}

const DUST = 1e-9; // sums of the same shares in another order

function extreme(
  rows: readonly ModelRow[],
  of: (row: ModelRow) => number,
  pick: (...values: number[]) => number,
): Best {
  const value = pick(...rows.map(of));
  return { value, models: rows.filter((row) => Math.abs(of(row) - value) <= DUST).map(({ name }) => name) };
}

function partNotes(dataset: string, evaluations: readonly Evaluation[], names: readonly string[], shared: number) {
  const counts = evaluations.map(({ problems }) => problems.length);
  if (counts.every((count) => count === shared)) return [];
  const told = counts.map((count, i) => `${names[i]} ${count}`);
  return [`${dataset}: files hold different problems (${told.join(", ")}); compared are the ${shared} that all have`];
}

function settingNotes(dataset: string, evaluations: readonly Evaluation[], names: readonly string[]): string[] {
  return SAMPLING.flatMap((setting) => {
    const byValue = new Map<number, string[]>();
    for (const [i, { settings }] of evaluations.entries()) {
      const value = settings[setting];
      if (value !== undefined) byValue.set(value, [...(byValue.get(value) ?? []), names[i]]);
    }
    if (byValue.size < 2) return [];
    const told = [...byValue].map(([value, models]) => `${value} (${models.join(", ")})`);
    return [`${dataset}: ${setting} differs, which a difference may come from: ${told.join(", ")}`];
  });
}

const listed = (names: readonly string[]) => [...new Set(names)].join(", ");
