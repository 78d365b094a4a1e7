import { splitmix32 } from "../../data/sampler.ts";
import { ShapeError } from "../../errors.ts";

/** A mean and its 95 % bootstrap interval. */
export interface Interval {
  mean: number;
  low: number;
  high: number;
}

/**
 * Percentile bootstrap of means. Problems are drawn with replacement, and all columns use the same draws, so a problem's values
 * stay together. The result depends only on the columns, seed and count.
 *
 * @param columns one number per problem; for an improvement, the difference between two models on that problem
 * @param seed seed of the draws
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

/** Interpolates linearly between the two neighbours, like NumPy's default. @param sorted ascending, not empty */
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

/** Unbiased: divides by n − 1. @param values at least two */
export function standardDeviation(values: readonly number[]): number {
  const centre = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1));
}

/** How verdicts change from one checkpoint to the next. */
export interface Flips {
  /** number of all problems */
  flips: number;
  /** number of problems whose verdict changes at least once */
  flipping: number;
  /** percentage of problems whose verdict never changes */
  never: number;
}

/** @param verdicts one row per checkpoint, in order, with one verdict per problem */
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
