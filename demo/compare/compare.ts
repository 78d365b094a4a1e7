import type { Evaluation, Method, RunRecord, Trainer } from "../../src/client/types.ts";
import { CHARTS, loggedNames, type MetricChart, namedChart } from "../../src/report/metrics.ts";
import { inOrder, METHOD_NAMES } from "../../src/report/names.ts";
import { rangeOf } from "../../src/report/plot.ts";
import { placed, positions, X_AXES } from "../../src/report/positions.ts";
import { seriesClass } from "../../src/report/scale.ts";
import { wilson } from "../../src/report/wilson.ts";
import { formatNumber, formatShare } from "../../src/text/numbers.ts";
import { createChart } from "../charts/chart.ts";
import { ChartLink } from "../charts/link.ts";
import { toolbar } from "../charts/toolbar.ts";
import { type Child, fill, h } from "../dom.ts";
import { labelled, select } from "../parts/choice.ts";
import { differences, logsOfMethod, methodsOf, type Settings, writtenSettings } from "./facts.ts";
import { problemByProblem } from "./problems.ts";

/** Shows the runs with these ids. */
export type Comparing = (ids: readonly string[]) => Promise<void>;

/** What the comparison needs of a trainer. */
interface Source {
  recipe: Trainer["recipe"];
  record(id: string): Promise<RunRecord>;
}

/** Compares runs: one metric by each method's own steps, scores with intervals, recipes, and the problems one by one. */
export function comparer(trainer: Source, element: HTMLElement, signal: AbortSignal): Comparing {
  const records = new Map<string, RunRecord>();
  const curves = curvesOf(signal);
  let asked = 0;
  return async (ids) => {
    const own = ++asked;
    // a run that has not ended grows
    const over = (id: string) => ["finished", "stopped"].includes(records.get(id)?.status ?? "");
    for (const id of ids) if (!over(id)) records.set(id, await trainer.record(id));
    const shown = ids.map((id) => records.get(id)!);
    const settings = await Promise.all(shown.map((record) => settingsOf(trainer, record)));
    if (own !== asked || signal.aborted) return;
    if (shown.length === 0) return fill(element);
    curves.update(shown);
    fill(element, curves.element, scores(shown), recipes(shown, settings), problemByProblem(shown));
  };
}

/** One chart of all runs, with the choice of method and metric. */
function curvesOf(signal: AbortSignal): { element: HTMLElement; update(runs: readonly RunRecord[]): void } {
  const link = new ChartLink();
  const tools = toolbar(link, signal);
  const pickers = h("div", { class: "pick" });
  const holder = h("div", { class: "charts one" });
  let runs: readonly RunRecord[] = [];
  let method: Method | null = null;
  let chosen = "";
  let life = new AbortController();

  const show = () => {
    const methods = methodsOf(runs);
    if (!method || !methods.includes(method)) method = methods.at(-1) ?? null;
    if (!method) return fill(holder, h("p", { class: "about" }, "These runs have no steps yet."));
    const logs = runs.map((run) => logsOfMethod(run, method!));
    const metrics = metricsOf(logs.flat());
    const metric = metrics.find(({ id }) => id === chosen) ?? metrics[0];
    fill(
      pickers,
      labelled(
        "Method",
        select(
          methods.map((one) => [one, METHOD_NAMES[one]] as const),
          method,
          (value) => {
            method = value as Method;
            show();
          },
        ),
      ),
      metric &&
        labelled(
          "Metric",
          select(
            metrics.map(({ id, title }) => [id, title] as const),
            metric.id,
            (value) => {
              chosen = value;
              show();
            },
          ),
        ),
    );
    tools.hidden = !metric;
    if (!metric) return fill(holder, h("p", { class: "about" }, "These runs have no logs yet."));
    draw(metric, logs);
  };
  const draw = (metric: MetricChart, logs: ReturnType<typeof logsOfMethod>[]) => {
    const { by } = link.settings.value;
    const places = logs.map((own) => positions(own, by));
    const series = logs.flatMap((own, i) => {
      const first = placed(metric.series(own), places[i])[0];
      return [{ name: runs[i].id, label: runs[i].name, points: first?.points ?? [] }];
    });
    link.able.value = X_AXES.map(({ id }) => id).filter((id) => logs.some((own) => positions(own, id).size > 0));
    link.xs.value = [...new Set(places.flatMap((own) => [...own.values()]))].sort((a, b) => a - b);
    link.whole.value = rangeOf(series);
    life.abort();
    life = new AbortController();
    const chart = createChart(metric, link, AbortSignal.any([signal, life.signal]));
    fill(holder, chart.element);
    chart.update(series);
  };
  let { by } = link.settings.value;
  link.settings.watch(signal, (settings) => {
    if (settings.by === by) return;
    by = settings.by;
    show();
  });
  const heading = h("h2", { id: "compare-title" }, "Curves");
  return {
    element: h("div", { class: "phase-charts" }, h("div", { class: "row" }, heading, pickers), tools, holder),
    update(next) {
      runs = next;
      show();
    },
  };
}

/** Charts and single names that can be compared: those with one line per run come first. */
function metricsOf(logs: Parameters<typeof loggedNames>[0]): MetricChart[] {
  const present = CHARTS.filter((chart) => chart.id !== "rewards" && chart.series(logs).length > 0);
  const covered = new Set(present.map((chart) => chart.series(logs)[0].name));
  return [
    ...present,
    ...loggedNames(logs)
      .filter((name) => !covered.has(name))
      .map(namedChart),
  ];
}

/** The runs' methods, steps and accuracies with Wilson's intervals. */
function scores(runs: readonly RunRecord[]): HTMLElement {
  const rows = runs.map((record, i) => {
    const all = inOrder(record.evaluations);
    const base = all.find(({ stage }) => stage === "base");
    const last = all.findLast(({ stage }) => stage !== "base");
    return h(
      "tr",
      {},
      h("th", { scope: "row", class: seriesClass(i) }, h("i", { "aria-hidden": "true" }), record.name),
      h("td", {}, record.phases.map(({ method }) => METHOD_NAMES[method]).join(", then ")),
      h("td", {}, record.phases.map(({ global_step }) => formatNumber(global_step)).join(" + ")),
      h("td", {}, ...score(base, i)),
      h("td", {}, ...score(last, i)),
    );
  });
  return sheet(
    "The compared runs",
    ["Run", "Method", "Steps", "Solved before, with 95 % interval", "Solved after, with 95 % interval"],
    rows,
  );
}

function score(evaluation: Evaluation | undefined, i: number): Child[] {
  if (!evaluation) return ["—"];
  const total = evaluation.problems.length;
  const right = evaluation.problems.filter(({ correct }) => correct).length;
  const { low, high } = wilson(right, total);
  const [bar, mark] = [h("i"), h("em")];
  bar.style.left = `${100 * low}%`;
  bar.style.width = `${100 * (high - low)}%`;
  mark.style.left = `${100 * evaluation.accuracy}%`;
  return [
    h("b", {}, formatShare(evaluation.accuracy)),
    ` ${formatShare(low)} to ${formatShare(high)} `,
    h("span", { class: "about" }, `${right} of ${total}`),
    h("span", { class: `interval ${seriesClass(i)}`, "aria-hidden": "true" }, bar, mark),
  ];
}

/** The fields whose values differ. */
function recipes(runs: readonly RunRecord[], settings: readonly Settings[]): HTMLElement {
  const found = differences(settings);
  const title = h("h3", {}, "Differences of the recipes");
  if (runs.length < 2) return h("section", {}, title, h("p", { class: "about" }, "Select a second run to compare."));
  if (found.length === 0) return h("section", {}, title, h("p", { class: "about" }, "The recipes are the same."));
  const rows = found.map(({ name, values }) =>
    h("tr", {}, h("th", { scope: "row" }, h("code", {}, name)), ...values.map((value) => h("td", {}, value))),
  );
  return h("section", {}, title, sheet("Differences of the recipes", ["Field", ...runs.map(({ name }) => name)], rows));
}

function sheet(name: string, heads: readonly string[], rows: readonly HTMLElement[]): HTMLElement {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": name },
    h(
      "table",
      { class: "compared" },
      h("caption", { class: "hidden" }, name),
      h("thead", {}, h("tr", {}, ...heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, ...rows),
    ),
  );
}

/** A run's model, data and every recipe field, by method and name. Fields that the recipe leaves out have their defaults. */
async function settingsOf(trainer: Source, record: RunRecord): Promise<Settings> {
  const { model, data } = record;
  const methods = record.phases.map(({ method }) => METHOD_NAMES[method]).join(", then ");
  const all: Record<string, unknown> = { model, data, methods };
  for (const [i, { method, recipe }] of record.job.phases.entries()) {
    const yaml = record.recipes[i];
    // a recipe of another version may have fields that this one does not know
    const own =
      yaml === undefined
        ? recipe
        : await trainer.recipe.parse(yaml, method).then(
            (parsed) => parsed.recipe,
            () => recipe,
          );
    const fields = await trainer.recipe.fields(method).catch(() => null);
    // a page that only reads has no tables of fields
    if (!fields) Object.assign(all, writtenSettings(method, yaml ?? ""));
    for (const field of fields ?? []) {
      const value = own[field.name] ?? field.default;
      all[`${method} ${field.name}`] = value;
    }
  }
  return all;
}
