import type { Change, Comparison, DatasetComparison } from "../eval/compare/compare.ts";
import { type ModelRow, OUTCOMES } from "../eval/compare/row.ts";
import type { Interval } from "../eval/compare/stats.ts";
import { escapeHtml } from "../text/html.ts";
import { counted, formatFixed, formatNumber, formatPercent, formatSigned } from "../text/numbers.ts";
import type { Chart } from "./chart.ts";
import { problemHtml, renderGrid } from "./compare-grid.ts";
import { compareStyle } from "./compare-style.ts";
import {
  bestSentences,
  changesByProblem,
  countsByModel,
  hasSingles,
  interval,
  ksOf,
  namedVerdict,
  stabilitySentence,
} from "./compare-text.ts";
import { chartFigure, headline, renderPage } from "./page.ts";

/** A comparison as one self-contained HTML file. Every text is escaped. */
export function renderComparison({ notes, datasets, resamples, seed }: Comparison): string {
  const names = [...new Set(datasets.flatMap(({ models }) => models.map(({ name }) => name)))];
  const models = names.length <= 4 ? names.join(", ") : `${names[0]} and ${names.length - 1} others`;
  const told = notes.map((note) => `<li>${escapeHtml(note)}</li>`);
  return renderPage({
    title: `Comparison of ${models}`,
    subtitle: `Intervals hold 95 % of ${formatNumber(resamples)} bootstrap samples of the problems, paired, seed ${seed}.`,
    body: `${told.length > 0 ? `<ul class="notes">${told.join("")}</ul>` : ""}${datasets.map(datasetHtml).join("\n")}`,
    footer: "Written by qwench compare.",
    style: compareStyle,
  });
}

function datasetHtml(compared: DatasetComparison): string {
  const { dataset, problems, regressions, gains, stability, best, base } = compared;
  const { by_benchmark, by_eval_loss } = best;
  const lost = new Set(regressions.map(({ id }) => id)).size;
  const won = new Set(gains.map(({ id }) => id)).size;
  const named = (models: readonly string[]) =>
    models.length > 2 ? counted(models.length, "model") : models.join(", ");
  const items: [string, string][] = [
    ["problems", String(problems)],
    ["best by pass@1", by_benchmark ? `${named(by_benchmark.models)} · ${formatPercent(by_benchmark.value)}` : "none"],
    ["problems lost", String(lost)],
    [`problems won over ${base}`, String(won)],
  ];
  if (by_eval_loss) {
    const { models, value } = by_eval_loss;
    items.splice(2, 0, ["best by validation loss", `${named(models)} · ${formatNumber(value)}`]);
  }
  const sentences = [...bestSentences(compared), ...stability.map(stabilitySentence)];
  return (
    `<section class="dataset"><h2>${escapeHtml(dataset)}</h2>${headline(items)}` +
    `<ul class="verdict">${sentences.map((sentence) => `<li>${escapeHtml(sentence)}</li>`).join("")}</ul>` +
    `${modelSheet(compared)}${partSheets(compared)}` +
    `<div class="charts">${[scoreFigure(compared), improvementFigure(compared), ...curves(compared), outcomeFigure(compared)].join("")}</div>` +
    `${outcomeSheet(compared)}` +
    changeSheet("Regressions", "Solved before, but not now", "lost by", regressions, compared, true) +
    changeSheet("Gains", `Solved now, but not by ${base}`, "won by", gains, compared, false) +
    `${renderGrid(compared)}</section>`
  );
}

/** A column: its heading and the HTML of a model's cell. */
type Column = readonly [heading: string, cell: (row: ModelRow) => string];

function sheet(label: string, models: readonly ModelRow[], columns: readonly Column[]): string {
  const heads = columns.map(([heading]) => `<th scope="col">${escapeHtml(heading)}</th>`).join("");
  const rows = models.map(
    (row) =>
      `<tr><th scope="row">${escapeHtml(row.name)}</th>${columns.map(([, cell]) => `<td>${cell(row)}</td>`).join("")}</tr>`,
  );
  return (
    `<div class="sheet"><div class="scroll" tabindex="0" role="region" aria-label="${escapeHtml(label)}"><table>` +
    `<thead><tr><th scope="col">${escapeHtml(label)}</th>${heads}</tr></thead><tbody>${rows.join("")}</tbody></table></div></div>`
  );
}

function modelSheet(compared: DatasetComparison): string {
  const { models, base } = compared;
  const single = hasSingles(compared);
  const known = (of: (row: ModelRow) => number | null) => models.some((row) => of(row) !== null);
  const over = (name: keyof Improvement) => (row: ModelRow) =>
    row.improvement === null ? "" : interval(row.improvement[name]);
  return sheet("Model", models, [
    ["solved", ({ solved }) => String(solved)],
    ...(single ? [] : [["any %", ({ accuracy }) => formatFixed(accuracy)] as Column]),
    ...ksOf(compared).map((k): Column => [`pass@${k} %`, ({ pass_at }) => formatFixed(pass_at[k])]),
    ...(known((row) => row.majority_accuracy)
      ? [["majority %", (row) => formatFixed(row.majority_accuracy)] as Column]
      : []),
    ...(known((row) => row.avg_completion_tokens)
      ? [["tokens", (row) => formatNumber(row.avg_completion_tokens)] as Column]
      : []),
    ...(known((row) => row.eval_loss) ? [["eval_loss", (row) => formatNumber(row.eval_loss)] as Column] : []),
    [`pass@1 over ${base}`, over("pass_at_1")],
    ...(single ? [] : [[`any over ${base}`, over("accuracy")] as Column]),
  ]);
}

function partSheets({ models }: DatasetComparison): string {
  const sources = Object.keys(models[0].source_accuracies);
  const levels = Object.keys(models[0].difficulty_accuracies);
  const bySource = sources.map((name): Column => [name, (row) => formatFixed(row.source_accuracies[name])]);
  const byLevel = levels.map((name): Column => [name, (row) => formatFixed(row.difficulty_accuracies[name])]);
  return (
    (sources.length > 1 ? sheet("Any %, by source", models, bySource) : "") +
    (levels.length > 1 ? sheet("pass@1 %, by difficulty", models, byLevel) : "")
  );
}

type Improvement = NonNullable<ModelRow["improvement"]>;

/** The ends of the axis for intervals. The axis always includes 0. */
function rangeOf(intervals: readonly Interval[]): [low: number, high: number] {
  const [low, high] = [
    Math.min(0, ...intervals.map((each) => each.low)),
    Math.max(0, ...intervals.map((each) => each.high)),
  ];
  return low < high ? [low, high] : [-1, 1];
}

/** Intervals of all models on one axis, with a line at the base. */
function improvementFigure(compared: DatasetComparison): string {
  const { models, base } = compared;
  const any = !hasSingles(compared);
  const told = models.flatMap(({ name, improvement }) => (improvement ? [{ name, improvement }] : []));
  const range = rangeOf(told.flatMap(({ improvement }) => Object.values(improvement)));
  const rows = told.map(
    ({ name, improvement }) =>
      `<dt>${escapeHtml(name)}</dt><dd>${any ? spanHtml(improvement.accuracy, range, "s0") : ""}` +
      `${spanHtml(improvement.pass_at_1, range, "s1")}</dd>`,
  );
  return barFigure(`Percentage points above ${base}, with 95 % intervals`, rows, SCORES.slice(any ? 0 : 1));
}

function spanHtml(own: Interval, [low, high]: readonly [number, number], kind: string): string {
  const at = (value: number) => ((100 * (value - low)) / (high - low)).toFixed(1);
  const width = ((100 * (own.high - own.low)) / (high - low)).toFixed(1);
  return (
    `<div class="bar ${kind}"><span class="span"><u style="left:${at(0)}%"></u>` +
    `<i style="left:${at(own.low)}%;width:${width}%"></i><em style="left:${at(own.mean)}%"></em></span>` +
    `<b>${formatSigned(own.mean)}</b></div>`
  );
}

/** Problems solved and pass@1 of every model, as bars from 0 to 100. */
function scoreFigure(compared: DatasetComparison): string {
  const { models } = compared;
  const any = !hasSingles(compared);
  const bar = (value: number, kind: string) =>
    `<div class="bar ${kind}"><span><i style="width:${value.toFixed(2)}%"></i></span><b>${formatFixed(value)}</b></div>`;
  const rows = models.map(
    ({ name, accuracy, pass_at }) =>
      `<dt>${escapeHtml(name)}</dt><dd>${any ? bar(accuracy, "s0") : ""}${bar(pass_at[1]!, "s1")}</dd>`,
  );
  return barFigure("Problems solved, %", rows, SCORES.slice(any ? 0 : 1));
}

/** The colours of the two scores. */
const SCORES = [
  ["s0", "by any completion"],
  ["s1", "pass@1"],
] as const;

function outcomeFigure({ models }: DatasetComparison): string {
  const rows = models.flatMap(({ name, outcomes }) => {
    if (outcomes === null) return [];
    const total = OUTCOMES.reduce((sum, outcome) => sum + outcomes[outcome], 0);
    const parts = OUTCOMES.map(
      (outcome, i) => `<i class="o${i}" style="width:${((100 * outcomes[outcome]) / total).toFixed(2)}%"></i>`,
    );
    const passed = formatFixed((100 * outcomes.passed) / total);
    return [
      `<dt>${escapeHtml(name)}</dt><dd><div class="bar"><span>${parts.join("")}</span><b>${passed}</b></div></dd>`,
    ];
  });
  if (rows.length === 0) return "";
  return barFigure(
    "Programs by outcome, passed %",
    rows,
    OUTCOMES.map((outcome, i) => [`o${i}`, words(outcome)]),
  );
}

function barFigure(title: string, rows: readonly string[], keys: readonly (readonly [string, string])[]): string {
  const key = keys.map(
    ([kind, label]) => `<span class="key ${kind}"><i class="swatch"></i>${escapeHtml(label)}</span>`,
  );
  return (
    `<figure><figcaption><strong>${escapeHtml(title)}</strong><span class="keys">${key.join("")}</span></figcaption>` +
    `<dl class="bars">${rows.join("")}</dl></figure>`
  );
}

function outcomeSheet({ models }: DatasetComparison): string {
  if (models.every(({ outcomes }) => outcomes === null)) return "";
  return `<h3>Programs</h3>${sheet(
    "Programs",
    models,
    OUTCOMES.map((outcome) => [words(outcome), (row) => String(row.outcomes?.[outcome] ?? "—")]),
  )}`;
}

const words = (outcome: string) => outcome.replaceAll("_", " ");

/** Scores and eval_loss over the steps of each run that has several checkpoints. */
function curves(compared: DatasetComparison): string[] {
  const { models } = compared;
  const steps = models.filter(({ step }) => step !== null);
  const runs = [...new Set(steps.map(({ run }) => run ?? ""))];
  const seriesOf = (label: string, of: (row: ModelRow) => number | null) =>
    runs.map((run) => {
      const own = steps.filter((row) => (row.run ?? "") === run).sort((a, b) => a.step! - b.step!);
      const short = runs.length > 1 ? `${run.replace(/^.*\//, "")} ${label}`.trim() : label;
      return { name: short, label: short, points: own.map((row) => [row.step!, of(row) ?? Number.NaN] as const) };
    });
  const charts: Chart[] = [
    {
      title: "Scores over steps, %",
      xLabel: "step",
      series: [
        ...(hasSingles(compared) ? [] : seriesOf("any", ({ accuracy }) => accuracy)),
        ...seriesOf("pass@1", ({ pass_at }) => pass_at[1]),
      ],
    },
    { title: "Validation loss over steps", xLabel: "step", series: seriesOf("eval_loss", (row) => row.eval_loss) },
  ];
  return charts
    .map(({ series, ...chart }) => {
      const drawn = series.filter(({ points }) => points.filter(([, y]) => Number.isFinite(y)).length > 1);
      return { ...chart, series: drawn };
    })
    .filter(({ series }) => series.length > 0)
    .map(chartFigure);
}

function changeSheet(
  title: string,
  what: string,
  by: string,
  changes: readonly Change[],
  { models }: DatasetComparison,
  open: boolean,
): string {
  const problems = changesByProblem(changes);
  const heading = `${what}: ${countsByModel(changes, models)}`;
  if (problems.length === 0) return `<h3>${title}</h3><p class="empty">${escapeHtml(heading)}.</p>`;
  const rows = problems.map(
    ({ id, problem, before, models }) =>
      `<tr><th scope="row" class="problem">${problemHtml(id, problem)}</th>` +
      `<td class="words">${escapeHtml(namedVerdict(before.model, before))}</td>` +
      `<td class="words">${escapeHtml(models.map(({ name, now }) => namedVerdict(name, now)).join(", "))}</td></tr>`,
  );
  return (
    `<h3>${title}</h3><details class="sheet"${open ? " open" : ""}><summary>${escapeHtml(heading)}</summary>` +
    `<div class="scroll" tabindex="0" role="region" aria-label="${escapeHtml(title)}"><table><thead><tr>` +
    `<th scope="col">problem</th><th scope="col" class="words">before</th><th scope="col" class="words">${by}</th>` +
    `</tr></thead><tbody>${rows.join("")}</tbody></table></div></details>`
  );
}
