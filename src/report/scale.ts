/** Points (x, y) with x ascending. Points that are not finite are gaps. */
export type Points = readonly (readonly [x: number, y: number])[];

/**
 * About `count` round numbers (1, 2 or 5 times a power of ten) within `[low, high]`. Equal ends give one number.
 */
export function ticks(low: number, high: number, count: number): number[] {
  if (!(high > low)) return [low];
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((m) => m * power >= rough * 0.999) ?? 10) * power;
  const all: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    // removes the product's rounding error: 0.30000000000000004
    all.push(Number((i * step).toPrecision(12)));
  }
  return all;
}

/** Ends of an axis that shows all values with a small margin. A flat line gets a margin on both sides. */
export function extent(values: readonly number[]): [low: number, high: number] {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!(low <= high)) return [0, 1];
  if (low === high) {
    const room = low === 0 ? 1 : Math.abs(low) * 0.1;
    return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
  }
  const air = (high - low) * 0.06;
  // extend an axis that nearly reaches 0
  const floor = low >= 0 && low - air < (high - low) * 0.25 ? 0 : low - air;
  return [floor, high + air];
}

/** About `most` points: the lowest and the highest of each section, so that spikes and gaps remain. */
export function thin(points: Points, most = 1200): Points {
  if (points.length <= most) return points;
  const size = Math.ceil(points.length / (most / 2));
  const kept: (readonly [number, number])[] = [];
  for (let start = 0; start < points.length; start += size) {
    const stretch = points.slice(start, start + size);
    const gap = stretch.find(([, y]) => !Number.isFinite(y));
    // prefers a number over NaN on either side
    const low = stretch.reduce((a, b) => (a[1] <= b[1] || Number.isNaN(b[1]) ? a : b));
    const high = stretch.reduce((a, b) => (a[1] >= b[1] || Number.isNaN(b[1]) ? a : b));
    const chosen = new Set(gap ? [low, high, gap] : [low, high]);
    kept.push(...[...chosen].sort((a, b) => a[0] - b[0]));
  }
  return kept;
}

/** A polyline that is interrupted at points that are not finite. */
export function linePath(points: Points, x: (value: number) => number, y: (value: number) => number): string {
  let down = false;
  let d = "";
  for (const [px, py] of points) {
    if (!Number.isFinite(px) || !Number.isFinite(py)) {
      down = false;
      continue;
    }
    d += `${down ? "L" : "M"}${x(px).toFixed(1)} ${y(py).toFixed(1)}`;
    down = true;
  }
  return d;
}

/** Label of a tick: thousands as k and M, tiny numbers in exponent notation. */
export function tickText(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(4))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(4))}k`;
  if (size !== 0 && size < 1e-3) return value.toExponential().replace(/^-/, "−");
  return String(value).replace("-", "−");
}

/** CSS classes of a series by its number: one of six colours, dashed from the seventh on. */
export function seriesClass(i: number): string {
  return i < 6 ? `s${i}` : `s${i % 6} dashed`;
}
