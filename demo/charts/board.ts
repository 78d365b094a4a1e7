import type { LogRecord } from "../../src/client/types.ts";
import { logsCsv } from "../../src/report/csv.ts";
import { CHARTS, loggedNames, type MetricChart, namedChart } from "../../src/report/metrics.ts";
import { rangeOf } from "../../src/report/plot.ts";
import { placed, positions, X_AXES } from "../../src/report/positions.ts";
import { fill, h } from "../dom.ts";
import { saveFile } from "../save-file.ts";
import { type Chart, createChart } from "./chart.ts";
import { ChartLink } from "./link.ts";
import { figuresTable } from "./table.ts";
import { toolbar } from "./toolbar.ts";

/** Charts of the logs of one phase or run. */
interface ChartBoard {
  element: HTMLElement;
  /** @param logs all so far, in order */
  update(logs: readonly LogRecord[]): void;
}

const KEY = "qwench.charts";

/**
 * Linked charts of logged numbers with their controls, a choice of every logged name, and the same numbers as a table and as
 * CSV.
 *
 * @param name of the run or phase, for the table's caption and the file
 */
export function chartBoard(name: string, signal: AbortSignal): ChartBoard {
  const link = new ChartLink();
  const grid = h("div", { class: "charts" });
  const empty = h("p", { class: "about" }, "The curves begin with the first log.");
  const tools = toolbar(link, signal);
  const list = h("div", { class: "chart-list" });
  const choose = h("details", { class: "more" }, h("summary", {}, "Choose charts"), list);
  const scroll = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Figures of ${name}` });
  const table = h("details", { class: "more" }, h("summary", {}, "The figures as a table"), scroll);
  const save = () =>
    saveFile({ name: `${name.toLowerCase().replace(/[^a-z0-9]+/g, "-")}.csv`, blob: new Blob([logsCsv(logs)]) });
  const csv = h("button", { type: "button", class: "quiet", on: { click: save } }, "Save all figures as CSV");
  const charts = new Map<string, Chart>();
  let logs: readonly LogRecord[] = [];
  let listed = "";

  let examples: LogRecord[] = [];
  let seen = 0;
  /** Keeps the first log of every name: what there is to draw does not depend on the number of logs. */
  const lookAt = () => {
    if (logs.length < seen) [examples, seen] = [[], 0];
    const known = new Set(loggedNames(examples));
    for (const log of logs.slice(seen)) {
      if (!loggedNames([log]).some((one) => Number.isFinite(log[one]) && !known.has(one))) continue;
      examples.push(log);
      for (const one of loggedNames([log])) if (Number.isFinite(log[one])) known.add(one);
    }
    seen = logs.length;
  };
  const metrics = (): MetricChart[] => {
    const present = CHARTS.filter((chart) => chart.series(examples).length > 0);
    const covered = new Set(present.flatMap((chart) => chart.series(examples).map((series) => series.name)));
    return [
      ...present,
      ...loggedNames(examples)
        .filter((one) => !covered.has(one))
        .map(namedChart),
    ];
  };
  const showTable = (shown: readonly MetricChart[]) => {
    if (!table.open) return;
    const columns = shown.flatMap((metric) =>
      metric.series(logs).map((series, _, all) => ({
        ...series,
        label: all.length > 1 ? `${metric.title}: ${series.label}` : metric.title,
      })),
    );
    fill(scroll, figuresTable(columns, `Figures of ${name} by step, the newest first`));
  };
  const showList = (all: readonly MetricChart[]) => {
    const state = all.map(({ id }) => id).join(" ");
    if (state === listed) return;
    listed = state;
    fill(
      list,
      ...all.map((metric) => {
        const box = h("input", { type: "checkbox", checked: isChosen(metric) });
        box.addEventListener("change", () => {
          keepChoice(metric, box.checked);
          show();
        });
        return h("label", { class: "tick" }, box, metric.title);
      }),
    );
  };
  const waiting = new Set<MetricChart>();
  let places: ReadonlyMap<number, number> = new Map();
  let drawing = false;
  /** Draws each chart in a task of its own, so that the page stays responsive. A chart that still waits gets the newest logs. */
  const redraw = async () => {
    if (drawing) return;
    drawing = true;
    for (const metric of waiting) {
      if (signal.aborted) return;
      waiting.delete(metric);
      charts.get(metric.id)!.update(placed(metric.series(logs), places));
      await new Promise((next) => setTimeout(next));
    }
    drawing = false;
  };
  const show = () => {
    const all = metrics();
    const shown = all.filter(isChosen);
    places = positions(logs, link.settings.value.by);
    const range = [...places.values()];
    link.able.value = X_AXES.map(({ id }) => id).filter((id) => id === "step" || positions(examples, id).size > 0);
    link.xs.value = [...new Set(range)].sort((a, b) => a - b);
    link.whole.value =
      range.length > 0 ? rangeOf([{ name: "", label: "", points: range.map((x) => [x, 0] as const) }]) : null;
    for (const metric of shown) if (!charts.has(metric.id)) charts.set(metric.id, createChart(metric, link, signal));
    const wanted = new Set(shown.map(({ id }) => id));
    for (const { id } of waiting) wanted.delete(id);
    for (const metric of shown) if (wanted.has(metric.id)) waiting.add(metric);
    void redraw();
    const elements = shown.map((metric) => charts.get(metric.id)!.element);
    if (elements.length !== grid.children.length || elements.some((one, i) => grid.children[i] !== one))
      fill(grid, ...elements);
    empty.hidden = all.length > 0;
    for (const part of [tools, choose, table, csv]) part.hidden = all.length === 0;
    showList(all);
    showTable(shown);
  };
  table.addEventListener("toggle", () => showTable(metrics().filter(isChosen)));
  let by = link.settings.value.by;
  link.settings.watch(signal, (settings) => {
    if (settings.by === by) return;
    by = settings.by;
    show();
  });
  show();
  return {
    element: h("div", { class: "phase-charts" }, tools, empty, grid, choose, table, csv),
    update(next) {
      logs = next;
      lookAt();
      show();
    },
  };
}

/** Whether the user, or else the list of charts, wants a chart. */
function isChosen({ id, main }: MetricChart): boolean {
  return chosen()[id] ?? main ?? false;
}

function keepChoice({ id }: MetricChart, on: boolean): void {
  const all = { ...chosen(), [id]: on };
  try {
    localStorage.setItem(KEY, JSON.stringify(all));
  } catch {
    // full or forbidden: the choice holds until the page is left
    session = all;
  }
}

let session: Record<string, boolean> = {};

function chosen(): Record<string, boolean> {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return { ...(typeof kept === "object" ? (kept as Record<string, boolean>) : {}), ...session };
  } catch {
    return session; // forbidden, or written by something else
  }
}
