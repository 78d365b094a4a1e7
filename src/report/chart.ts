import { escapeHtml } from "../text/html.ts";
import { formatNumber } from "../text/numbers.ts";
import { markSvg } from "./marks.ts";
import type { Series } from "./metrics.ts";
import { plotOf } from "./plot.ts";
import { thin } from "./scale.ts";

export interface Chart {
  readonly title: string;
  readonly series: readonly Series[];
  /** label of the x axis */
  readonly xLabel: string;
  /** what the values count */
  readonly unit?: string;
}

const WIDTH = 520;
const HEIGHT = 236;

/**
 * A chart as one inline SVG: grid, ticks, and one line per series, with dots if a series is short. `data-points` holds the
 * points for the page's script, which shows the values at the pointer. Without the script, a `<title>` summarises the chart.
 */
export function renderChart({ title, series, xLabel, unit = "" }: Chart): string {
  const finite = series.map(({ name, label, points }) => {
    return { name, label, points: points.filter(([px, py]) => Number.isFinite(px) && Number.isFinite(py)) };
  });
  const whole = finite.every(({ points }) => points.every(([x]) => Number.isInteger(x)));
  const plot = plotOf({
    ...{ series, width: WIDTH, height: HEIGHT, unit, log: false, smoothing: 0, window: null },
    x: { kind: whole ? "whole" : "number", title: xLabel },
  });
  const { top, bottom } = plot.area;
  const drawn = finite.map(({ name, points }) => ({
    name,
    points: thin(points).map(([px, py]) => [
      Number(plot.xAt(px).toFixed(1)),
      Number(plot.yAt(py).toFixed(1)),
      px,
      formatNumber(py),
    ]),
  }));
  const summary = finite
    .filter(({ points }) => points.length > 0)
    .map(({ name, points }) => `${name}: ${formatNumber(points[0][1])} to ${formatNumber(points.at(-1)?.[1])}`)
    .join("; ");
  return (
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(`${title}. ${summary}`)}" ` +
    `data-x="${escapeHtml(xLabel)}" data-points="${escapeHtml(JSON.stringify(drawn))}">` +
    `${plot.marks.map(markSvg).join("")}<line class="cursor" y1="${top}" y2="${bottom}" visibility="hidden"/></svg>`
  );
}
