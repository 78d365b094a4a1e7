import { formatNumber } from "../text/numbers.ts";
import type { Series } from "./metrics.ts";
import { extent, linePath, seriesClass, thin, ticks, tickText } from "./scale.ts";

export interface Chart {
  readonly title: string;
  readonly series: readonly Series[];
  /** label of the x axis */
  readonly xLabel: string;
}

const width = 520;
const height = 220;
const left = 54;
const right = 12;
const top = 10;
const bottom = 24;

/** Escapes text for HTML content and quoted attributes. */
export function escapeHtml(text: unknown): string {
  const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return String(text).replace(/[&<>"']/g, (c) => entities[c]);
}

/**
 * A chart as one inline SVG: grid, ticks, and one line per series, with dots if a series is short. `data-points` holds the
 * points for the page's script, which shows the values at the pointer. Without the script, a `<title>` summarises the chart.
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
    parts.push(`<text class="tick" x="${left - 8}" y="${at}" dy="0.32em" text-anchor="end">${tickText(tick)}</text>`);
  }
  const whole = ticks(from, to, 5).filter((tick) => Number.isInteger(tick));
  for (const tick of whole.length > 0 ? whole : [from]) {
    parts.push(
      `<text class="tick" x="${x(tick).toFixed(1)}" y="${height - bottom + 16}" text-anchor="middle">${tickText(tick)}</text>`,
    );
  }
  parts.push(
    `<text class="tick name" x="${left - 16}" y="${height - bottom + 16}" text-anchor="end">${escapeHtml(xLabel)}</text>`,
    `<line class="axis" x1="${left}" x2="${width - right}" y1="${height - bottom}" y2="${height - bottom}"/>`,
  );
  for (const [i, { points, gaps }] of finite.entries()) {
    parts.push(`<path class="line ${seriesClass(i)}" d="${linePath(gaps, x, y)}"/>`);
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
