import { escapeHtml } from "../text/html.ts";
import { formatNumber } from "../text/numbers.ts";
import { renderChart } from "./chart.ts";
import { seriesOf } from "./metrics.ts";
import { seriesClass } from "./scale.ts";
import { colours, marks } from "./style.ts";
import type { LogRecord } from "./text.ts";

/** A chart of logged numbers. */
export interface Figure {
  title: string;
  /** logs in order */
  logs: readonly LogRecord[];
  /** logged names to draw, with their labels in the key */
  names: Readonly<Record<string, string>>;
  /** label of the x axis; default step */
  xLabel?: string;
}

const WIDTH = 520;
const HEIGHT = 270;
const CHART_Y = 34;
const CHART_HEIGHT = 236;

const STYLE = `.qwench-figure{${colours.light};font-family:system-ui,sans-serif;font-size:13px;${marks}.key{fill:var(--c);font-variant-numeric:tabular-nums}}
@media (prefers-color-scheme:dark){.qwench-figure{${colours.dark}}}`;

/** Logged numbers over steps as one self-contained SVG, for a notebook's output or a file. */
export function renderFigure({ title, logs, names, xLabel = "step" }: Figure): string {
  const series = Object.entries(names).flatMap(([name, label]) => seriesOf(logs, name, label));
  const keys = series.map(({ label, points }, i) => {
    const last = points.findLast(([, y]) => Number.isFinite(y));
    return `<tspan class="key ${seriesClass(i)}" dx="14">${escapeHtml(`${label} ${formatNumber(last?.[1])}`)}</tspan>`;
  });
  const chart = renderChart({ title, series, xLabel }).replace(
    "<svg ",
    `<svg y="${CHART_Y}" width="${WIDTH}" height="${CHART_HEIGHT}" `,
  );
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" class="qwench-figure" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}">` +
    `<style>${STYLE}</style><rect width="100%" height="100%" rx="6" fill="var(--card)"/>` +
    `<text x="14" y="22" fill="var(--ink)"><tspan font-weight="600">${escapeHtml(title)}</tspan>${keys.join("")}</text>${chart}</svg>`
  );
}
