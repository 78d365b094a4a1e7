/** A bar of a histogram: values from `from` up to, but not including, `to`. */
interface Bin {
  from: number;
  to: number;
  count: number;
}

/** Widths of bars: 1, 2 or 5 times a power of 10. */
const STEPS = [1, 2, 5, 10];

/** A histogram of whole numbers with round edges. @param values ascending @param most bars */
export function bins(values: readonly number[], most: number): Bin[] {
  if (values.length === 0) return [];
  const [low, high] = [values[0], values.at(-1)!];
  const rough = Math.max(1, (high - low + 1) / most);
  const power = 10 ** Math.floor(Math.log10(rough));
  // an edge below the least value may add a bar
  for (const step of [...STEPS, 20]) {
    const width = Math.max(1, step * power);
    const start = Math.floor(low / width) * width;
    const count = Math.floor((high - start) / width) + 1;
    if (count > most) continue;
    const made = Array.from({ length: count }, (_, i) => ({
      from: start + i * width,
      to: start + (i + 1) * width,
      count: 0,
    }));
    for (const value of values) made[Math.floor((value - start) / width)].count++;
    return made;
  }
  return [{ from: low, to: high + 1, count: values.length }];
}

/** The value below which a share of ascending values lies. */
export function quantile(values: readonly number[], share: number): number {
  return values[Math.min(values.length - 1, Math.floor(share * values.length))];
}
