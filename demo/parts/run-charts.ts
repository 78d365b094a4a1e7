import type { LogRecord } from "../../src/client/types.ts";
import { CHARTS, type MetricChart } from "../../src/report/metrics.ts";
import { METHOD_NAMES } from "../../src/report/names.ts";
import { type Chart, createChart, figuresTable } from "../chart.ts";
import { fill, h } from "../dom.ts";
import type { Run } from "../run.ts";

const MAIN = CHARTS.filter(({ main }) => main);

/** The curves of a phase, one chart per metric, and the same numbers as a table. */
export function phaseCharts(run: Run, phase: number, signal: AbortSignal): HTMLElement {
  const { method } = run.record.phases[phase];
  const grid = h("div", { class: "charts" });
  const empty = h("p", { class: "about" }, "The curves begin with the first log.");
  const table = h("div", {
    class: "scroll",
    tabindex: "0",
    role: "region",
    "aria-label": `Figures of ${METHOD_NAMES[method]}`,
  });
  const details = h("details", { class: "more" }, h("summary", {}, "The figures as a table"), table);
  const charts = new Map<string, Chart>();

  const showTable = () => {
    if (!details.open) return;
    const logs = run.record.logs[phase] ?? [];
    const columns = MAIN.flatMap((metric) =>
      metric.series(logs).map((series, _, all) => ({
        ...series,
        label: all.length > 1 ? `${metric.title}: ${series.label}` : metric.title,
      })),
    );
    fill(table, figuresTable(columns, `Figures of ${METHOD_NAMES[method]} by step, the newest first`));
  };
  details.addEventListener("toggle", showTable);

  const chartOf = (metric: MetricChart): Chart => {
    const known = charts.get(metric.id);
    if (known) return known;
    const chart = createChart(metric.title, "step", signal);
    if (metric.wide) chart.element.classList.add("wide");
    charts.set(metric.id, chart);
    const order = MAIN.filter(({ id }) => charts.has(id));
    fill(grid, ...order.map(({ id }) => charts.get(id)!.element));
    return chart;
  };
  for (const metric of MAIN) {
    let drawn: LogRecord | undefined;
    run.watch(signal, () => {
      const logs = run.record.logs[phase] ?? [];
      if (logs.at(-1) === drawn) return;
      drawn = logs.at(-1);
      const series = metric.series(logs);
      if (series.length > 0) chartOf(metric).update(series);
    });
  }
  let listed: LogRecord | undefined;
  run.watch(signal, () => {
    const newest = run.record.logs[phase]?.at(-1);
    empty.hidden = charts.size > 0;
    details.hidden = charts.size === 0;
    if (newest !== listed) showTable();
    listed = newest;
  });
  return h("div", { class: "phase-charts" }, empty, grid, details);
}
