import { type Chart, createChart, figuresTable } from "../chart.ts";
import { fill, h } from "../dom.ts";
import { METHOD_NAMES } from "../format.ts";
import { METRICS } from "../metrics.ts";
import type { Run } from "../run.ts";

/** The curves of a phase, a chart a metric, and the same numbers as a table. */
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
  let drawn = -1;

  const showTable = () => {
    if (!details.open) return;
    const logs = run.record.logs[phase] ?? [];
    const columns = METRICS[method].flatMap((metric) =>
      metric.series(logs).map((series, _, all) => ({
        ...series,
        label: all.length > 1 ? `${metric.title}: ${series.label}` : metric.title,
      })),
    );
    fill(table, figuresTable(columns, `Figures of ${METHOD_NAMES[method]} by step, the newest first`));
  };
  details.addEventListener("toggle", showTable);

  run.watch(signal, () => {
    const logs = run.record.logs[phase] ?? [];
    // a run that went on from a checkpoint may have fewer than before
    if (logs.length === drawn) return;
    drawn = logs.length;
    for (const metric of METRICS[method]) {
      const series = metric.series(logs);
      if (series.length === 0) continue;
      let chart = charts.get(metric.id);
      if (!chart) {
        chart = createChart(metric.title, "step", signal);
        charts.set(metric.id, chart);
        if (metric.wide) chart.element.classList.add("wide");
        const order = METRICS[method].filter(({ id }) => charts.has(id));
        fill(grid, ...order.map(({ id }) => charts.get(id)!.element));
      }
      chart.update(series);
    }
    empty.hidden = charts.size > 0;
    details.hidden = charts.size === 0;
    showTable();
  });
  return h("div", { class: "phase-charts" }, empty, grid, details);
}
