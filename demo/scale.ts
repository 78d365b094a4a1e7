/** Points (x, y) with x rising; points that are not finite are gaps. */
export type Points = readonly (readonly [x: number, y: number])[];

/** At most about `count` round numbers (1, 2 or 5 times a power of ten) within `[low, high]`. */
export function ticks(low: number, high: number, count: number): number[] {
  if (!(high > low)) return [low];
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((m) => m * power >= rough * 0.999) ?? 10) * power;
  const all: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    all.push(Number((i * step).toPrecision(12))); // the product carries rounding dust
  }
  return all;
}

/** Ends of an axis that shows all values with a little air; a flat line gets room on both sides. */
export function extent(values: readonly number[]): [low: number, high: number] {
  const finite = values.filter(Number.isFinite);
  if (finite.length === 0) return [0, 1];
  const low = finite.reduce((a, b) => Math.min(a, b));
  const high = finite.reduce((a, b) => Math.max(a, b));
  if (low === high) {
    const room = low === 0 ? 1 : Math.abs(low) * 0.1;
    return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
  }
  const air = (high - low) * 0.06;
  // an axis that nearly reaches 0 should reach it
  return [low >= 0 && low - air < (high - low) * 0.25 ? 0 : low - air, high + air];
}

/** At most `most` points or so: of each stretch the lowest and the highest, so that spikes stay. */
export function thin(points: Points, most = 600): Points {
  if (points.length <= most) return points;
  const size = Math.ceil(points.length / (most / 2));
  const kept: (readonly [number, number])[] = [];
  for (let start = 0; start < points.length; start += size) {
    const stretch = points.slice(start, start + size);
    const low = stretch.reduce((a, b) => (a[1] <= b[1] || Number.isNaN(b[1]) ? a : b));
    const high = stretch.reduce((a, b) => (a[1] >= b[1] || Number.isNaN(b[1]) ? a : b));
    kept.push(...[...new Set([low, high])].sort((a, b) => a[0] - b[0]));
  }
  return kept;
}

/** Text beside a tick: thousands as k and M, tiny numbers as powers. */
export function tickText(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(4))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(4))}k`;
  if (size !== 0 && size < 1e-3) return value.toExponential().replace("e-", "e−");
  return String(value).replace("-", "−");
}
