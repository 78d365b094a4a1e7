import { formatNumber } from "../text/numbers.ts";

/** One line of a chart: points (x, y) with x rising; points that are not finite are gaps. */
export interface Series {
  readonly name: string;
  /** what the chart's key calls it */
  readonly label: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface Chart {
  readonly title: string;
  readonly series: readonly Series[];
  /** what x counts */
  readonly xLabel: string;
}

const width = 520;
const height = 220;
const left = 54;
const right = 12;
const top = 10;
const bottom = 24;

/** Classes of the series of that number: one of six colours, dashed from the seventh on. */
export function seriesClass(i: number): string {
  return i < 6 ? `s${i}` : `s${i % 6} dashed`;
}

/** Text as HTML shows it, in content and in quoted attributes. */
export function escapeHtml(text: unknown): string {
  const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return String(text).replace(/[&<>"']/g, (c) => entities[c]);
}

/**
 * At most about `count` round numbers (1, 2 or 5 times a power of ten) within `[low, high]`.
 * Equal ends give that one number.
 */
export function ticks(low: number, high: number, count: number): number[] {
  if (!(high > low)) return [low];
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((m) => m * power >= rough * 0.999) ?? 10) * power;
  const all: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    // the product carries rounding dust: 0.30000000000000004
    all.push(Number((i * step).toPrecision(12)));
  }
  return all;
}

/** Ends of an axis that shows all values with a little air; a flat line gets room on both sides. */
export function extent(values: readonly number[]): [low: number, high: number] {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!(low <= high)) return [0, 1];
  if (low === high) {
    const room = low === 0 ? 1 : Math.abs(low) * 0.1;
    return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
  }
  const air = (high - low) * 0.06;
  // an axis that nearly reaches 0 should reach it
  const floor = low >= 0 && low - air < (high - low) * 0.25 ? 0 : low - air;
  return [floor, high + air];
}

/**
 * A chart as one inline SVG: grid, ticks, a line a series, a dot where a series is short. The points go along in
 * `data-points` for the page's script, which shows values under the pointer; without it a `<title>` sums up.
 */
export function renderChart({ title, series, xLabel }: Chart): string {
  const finite = series.map(({ name, points }) => {
    const gaps = thin(points);
    return { name, gaps, points: gaps.filter(([px, py]) => Number.isFinite(px) && Number.isFinite(py)) };
  });
  const xs = finite.flatMap(({ points }) => points.map(([x]) => x));
  const [low, high] = extent(finite.flatMap(({ points }) => points.map(([, y]) => y)));
  const [from, to] =
    xs.length > 0 ? [xs.reduce((a, b) => Math.min(a, b)), xs.reduce((a, b) => Math.max(a, b))] : [0, 1];
  const x = (value: number) => left + (to > from ? (value - from) / (to - from) : 0.5) * (width - left - right);
  const y = (value: number) => height - bottom - ((value - low) / (high - low)) * (height - top - bottom);

  const parts: string[] = [];
  for (const tick of ticks(low, high, 4)) {
    const at = y(tick).toFixed(1);
    parts.push(`<line class="grid" x1="${left}" x2="${width - right}" y1="${at}" y2="${at}"/>`);
    parts.push(`<text class="tick" x="${left - 8}" y="${at}" dy="0.32em" text-anchor="end">${label(tick)}</text>`);
  }
  const whole = ticks(from, to, 5).filter((tick) => Number.isInteger(tick));
  for (const tick of whole.length > 0 ? whole : [from]) {
    parts.push(
      `<text class="tick" x="${x(tick).toFixed(1)}" y="${height - bottom + 16}" text-anchor="middle">${label(tick)}</text>`,
    );
  }
  parts.push(
    `<text class="tick name" x="${left - 16}" y="${height - bottom + 16}" text-anchor="end">${escapeHtml(xLabel)}</text>`,
    `<line class="axis" x1="${left}" x2="${width - right}" y1="${height - bottom}" y2="${height - bottom}"/>`,
  );
  for (const [i, { points, gaps }] of finite.entries()) {
    parts.push(`<path class="line ${seriesClass(i)}" d="${path(gaps, x, y)}"/>`);
    if (points.length > 0 && points.length <= 30) {
      for (const [px, py] of points) {
        parts.push(`<circle class="dot ${seriesClass(i)}" cx="${x(px).toFixed(1)}" cy="${y(py).toFixed(1)}" r="2.2"/>`);
      }
    }
  }
  const drawn = finite.map(({ name, points }) => ({
    name,
    points: points.map(([px, py]) => [Number(x(px).toFixed(1)), Number(y(py).toFixed(1)), px, formatNumber(py)]),
  }));
  const summary = finite
    .filter(({ points }) => points.length > 0)
    .map(({ name, points }) => `${name}: ${formatNumber(points[0][1])} to ${formatNumber(points.at(-1)?.[1])}`)
    .join("; ");
  return (
    `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeHtml(`${title}. ${summary}`)}" ` +
    `data-x="${escapeHtml(xLabel)}" data-points="${escapeHtml(JSON.stringify(drawn))}">` +
    `${parts.join("")}<line class="cursor" y1="${top}" y2="${height - bottom}" visibility="hidden"/></svg>`
  );
}

/** At most `most` points or so: of each stretch the lowest and the highest, so that spikes and gaps stay. */
export function thin(points: Series["points"], most = 1200): Series["points"] {
  if (points.length <= most) return points;
  const size = Math.ceil(points.length / (most / 2));
  const kept: (readonly [number, number])[] = [];
  for (let start = 0; start < points.length; start += size) {
    const stretch = points.slice(start, start + size);
    const gap = stretch.find(([, y]) => !Number.isFinite(y));
    // written so that a number wins over NaN on either side
    const low = stretch.reduce((a, b) => (a[1] <= b[1] || Number.isNaN(b[1]) ? a : b));
    const high = stretch.reduce((a, b) => (a[1] >= b[1] || Number.isNaN(b[1]) ? a : b));
    const chosen = new Set(gap ? [low, high, gap] : [low, high]);
    kept.push(...[...chosen].sort((a, b) => a[0] - b[0]));
  }
  return kept;
}

/** A polyline that lifts its pen at points that are not finite. */
function path(points: Series["points"], x: (value: number) => number, y: (value: number) => number): string {
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

/** Tick labels: thousands as k and M, tiny numbers as powers. */
function label(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(4))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(4))}k`;
  if (size !== 0 && size < 1e-3) return value.toExponential().replace("e-", "e−");
  return String(value);
}
