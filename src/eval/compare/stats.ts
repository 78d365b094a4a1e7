import { splitmix32 } from "../../data/sampler.ts";
import { ShapeError } from "../../errors.ts";

/** A mean, and where 95 % of the means of resampled problems lie. */
export interface Interval {
  mean: number;
  low: number;
  high: number;
}

/**
 * Percentile bootstrap of means: problems are drawn with replacement, all columns by the same draws, so that what
 * belongs to a problem stays together. The same columns, seed and count give the same numbers, whatever stands beside.
 *
 * @param columns one number a problem each; for an improvement, the difference between two models on that problem
 * @param seed of the draws
 * @see Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13
 */
export function bootstrapMeans(columns: readonly Float64Array[], seed: number, resamples = 10_000): Interval[] {
  const n = columns[0]?.length ?? 0;
  if (n === 0 || columns.some(({ length }) => length !== n)) {
    throw new ShapeError(`Cannot resample columns of ${columns.map(({ length }) => length).join(", ") || 0} problems`);
  }
  const next = splitmix32(seed, n);
  const means = columns.map(() => new Float64Array(resamples));
  const drawn = new Uint32Array(n);
  for (let r = 0; r < resamples; r++) {
    for (let i = 0; i < n; i++) drawn[i] = Math.floor((next() / 2 ** 32) * n);
    for (const [c, column] of columns.entries()) {
      let sum = 0;
      for (let i = 0; i < n; i++) sum += column[drawn[i]];
      means[c][r] = sum / n;
    }
  }
  return columns.map((column, c) => {
    const sorted = means[c].sort();
    return { mean: mean(column), low: quantile(sorted, 0.025), high: quantile(sorted, 0.975) };
  });
}

/** Linear between the two neighbours, as NumPy's default. @param sorted rising, not empty */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  const at = share * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}

export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum / values.length;
}

/** Unbiased: over n − 1. @param values at least two */
export function standardDeviation(values: readonly number[]): number {
  const centre = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1));
}

/** How verdicts change from one checkpoint to the next. */
export interface Flips {
  /** of all problems */
  flips: number;
  /** problems whose verdict changes at least once */
  flipping: number;
  /** percent of problems whose verdict never does */
  never: number;
}

/** @param verdicts a row a checkpoint, in order, one verdict a problem */
export function countFlips(verdicts: readonly (readonly boolean[])[]): Flips {
  const problems = verdicts[0].length;
  let [flips, flipping] = [0, 0];
  for (let p = 0; p < problems; p++) {
    let own = 0;
    for (let c = 1; c < verdicts.length; c++) if (verdicts[c][p] !== verdicts[c - 1][p]) own++;
    flips += own;
    if (own > 0) flipping++;
  }
  return { flips, flipping, never: (100 * (problems - flipping)) / problems };
}
