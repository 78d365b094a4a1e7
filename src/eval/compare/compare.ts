import { QwenchError } from "../../errors.ts";
import { type Evaluation, SAMPLING } from "./file.ts";
import { type Place, placesOf, sequencesOf } from "./names.ts";
import { type SharedProblem, sharedProblems } from "./problems.ts";
import { type ModelRow, rowOf, shareOf, type Verdict, verdictOf } from "./row.ts";
import { bootstrapMeans, countFlips, type Flips, mean, standardDeviation } from "./stats.ts";

export interface GridRow {
  id: string;
  source: string;
  /** the line that identifies the problem */
  problem: string;
  difficulty: string | null;
  /** one per model, in the order of the rows */
  verdicts: Verdict[];
}

/** A problem whose verdict differs from an earlier model's. */
export interface Change {
  /** the later model and its verdict */
  model: string;
  id: string;
  problem: string;
  now: Verdict;
  /** the earlier model: for a regression the last model that solved the problem, for a gain the base */
  before: Verdict & { model: string };
}

/** Statistics over a run's checkpoints. */
export interface Stability extends Flips {
  models: string[];
  /** standard deviations across the models, in percentage points */
  std_pass_at_1: number;
  std_accuracy: number;
}

/** One or more models that are equally good. */
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
  /** solved by the base or an earlier checkpoint of the same run, but not by this one */
  regressions: Change[];
  /** solved by this one, but not by the base */
  gains: Change[];
  stability: Stability[];
  best: {
    /** by pass@1; null if no completion is correct */
    by_benchmark: Best | null;
    /** whether its pass@1 is above the base's */
    beats_base: boolean;
    /** null if fewer than two checkpoints have an eval_loss */
    by_eval_loss: Best | null;
    /** whether one checkpoint is best by both measures; null if either measure is null */
    agree: boolean | null;
  };
}

export interface Comparison {
  seed: number;
  resamples: number;
  notes: string[];
  datasets: DatasetComparison[];
}

interface CompareOptions {
  /** name or file of the model that the others are compared with; default: the first evaluation's */
  base?: string;
  /** for the bootstrap */
  seed?: number;
  resamples?: number;
}

/**
 * Compares evaluations, one data set at a time, on the problems that all models share.
 *
 * @param evaluations at least two
 * @throws {QwenchError} no model is called `base`; the evaluations share no problem; no data set has two evaluations
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
      notes.push(`${dataset}: only ${places[group[0]].name} was evaluated, so there is nothing to compare`);
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

/** Groups evaluations by data set. If no two share a data set's name but some share problems, they form one group. */
function groupsOf(evaluations: readonly Evaluation[], notes: string[]): number[][] {
  const names = [...new Set(evaluations.map(({ dataset }) => dataset))];
  const groups = names.map((name) => evaluations.flatMap(({ dataset }, i) => (dataset === name ? [i] : [])));
  if (names.length === 1 || groups.some(({ length }) => length > 1)) return groups;
  const [first, ...others] = evaluations.map(({ problems }) => new Set(problems.map(({ problem }) => problem.trim())));
  if (!others.every((other) => [...other].some((problem) => first.has(problem)))) return groups;
  notes.push(
    `${names.join(", ")}: the names differ, but the files share problems, so they are compared as one data set`,
  );
  return [evaluations.map((_, i) => i)];
}

/** The base first, then each run in the order of training. */
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

/** @param evaluations evaluations of one data set, the base first */
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
      verdicts: judged.map(verdictOf),
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

/** The problems that each model of a run no longer solves, though the base or an earlier model did. The base is number 0. */
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
          now: verdictOf(judged[m]),
          before: { model: names[last], ...verdictOf(judged[last]) },
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
      now: verdictOf(judged[m]),
      before: { model: names[0], ...verdictOf(judged[0]) },
    }));
}

/** Statistics over the checkpoints, or over all models but the base if there are fewer than two checkpoints. */
function bestOf(models: readonly ModelRow[]): DatasetComparison["best"] {
  const checkpoints = models.filter(({ run }) => run !== null);
  const rivals = checkpoints.length > 1 ? checkpoints : models.slice(1);
  const best = extreme(rivals, ({ pass_at }) => pass_at[1]!, Math.max);
  const by_benchmark = best.value > 0 ? best : null;
  const measured = rivals.filter(({ eval_loss }) => eval_loss !== null);
  const by_eval_loss = measured.length < 2 ? null : extreme(measured, ({ eval_loss }) => eval_loss!, Math.min);
  return {
    by_benchmark,
    beats_base: best.value > models[0].pass_at[1]! + DUST,
    by_eval_loss,
    agree: by_eval_loss && by_benchmark && by_eval_loss.models.some((name) => best.models.includes(name)),
  };
}

const DUST = 1e-9; // tolerates rounding: equal shares may be summed in another order

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
  return [
    `${dataset}: the files hold different problems (${told.join(", ")}); Qwench compares the ${shared} that all files hold`,
  ];
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
    return [`${dataset}: ${setting} differs, which may cause a difference: ${told.join(", ")}`];
  });
}

const listed = (names: readonly string[]) => [...new Set(names)].join(", ");
