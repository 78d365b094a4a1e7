import { escapeHtml } from "../text/html.ts";
import { formatNumber } from "../text/numbers.ts";
import type { Chart } from "./chart.ts";
import { renderCompletions } from "./completions.ts";
import { CHARTS, METRICS } from "./metrics.ts";
import { chartFigure, headline, renderPage } from "./page.ts";
import type { CompletionBatch, LogRecord } from "./text.ts";

export interface Report {
  /** heading, such as the model and the data set */
  title: string;
  /** a line under the heading: the kind of run, how it ended, and when */
  subtitle?: string;
  /** the recipe as YAML */
  recipe: string;
  /** logs in order, as in metrics.jsonl */
  logs: readonly LogRecord[];
  /** adapter, runtime and versions, by name */
  environment?: Readonly<Record<string, unknown>>;
  /** generation batches to show, if the run generates */
  completions?: readonly CompletionBatch[];
  /** memory forecast and peak, by name */
  memory?: Readonly<Record<string, unknown>>;
  /** totals of the run, such as train_runtime, by name */
  summary?: Readonly<Record<string, unknown>>;
  /** whether the report stands alone, without metrics.jsonl and completions/ beside it; default false */
  alone?: boolean;
}

/**
 * A run as one self-contained HTML file: curves as inline SVG, last values, environment, memory and recipe.
 *
 * All text is escaped. The page's CSP forbids all requests, and all scripts except the pointer's.
 */
export function renderReport({
  title,
  subtitle,
  recipe,
  logs,
  completions = [],
  environment,
  memory,
  summary,
  alone = false,
}: Report): string {
  const drawn = CHARTS.map(
    ({ title, unit, series }): Chart => ({ title, unit, series: series(logs), xLabel: "step" }),
  ).filter(({ series }) => series.length > 0);
  const last = lastValues(logs);
  const sections = [
    drawn.length > 0
      ? `<section class="charts">${drawn.map(chartFigure).join("")}</section>`
      : `<p class="empty">No logged steps.</p>`,
    renderCompletions(completions, alone),
    `<div class="tables">`,
    table("Last values", last),
    table("Run", summary),
    table("Memory", memory),
    table("Environment", environment),
    `</div>`,
    `<section><h2>Recipe</h2><pre>${escapeHtml(recipe.trimEnd())}</pre></section>`,
  ];
  return renderPage({
    title,
    subtitle,
    body: `${headline(firstLooks(last))}\n${sections.join("\n")}`,
    footer: `Written by Qwench.${alone ? "" : " The curves are in metrics.jsonl beside this file."}`,
  });
}

/** The newest value of each name. */
function lastValues(logs: readonly LogRecord[]): Record<string, unknown> {
  const last: Record<string, unknown> = {};
  for (const log of logs) Object.assign(last, log);
  return last;
}

/** The most important numbers. */
function firstLooks(last: Readonly<Record<string, unknown>>): [label: string, text: string][] {
  return METRICS.filter(({ name, headline }) => headline && typeof last[name] === "number").map(({ name, label }) => [
    label,
    formatNumber(last[name]),
  ]);
}

/** Values by name under a heading, or nothing if there are none. */
function table(heading: string, values: Readonly<Record<string, unknown>> | undefined): string {
  const entries = Object.entries(values ?? {});
  if (entries.length === 0) return "";
  const rows = entries.map(([name, value]) => {
    const text = typeof value === "number" || value === null ? formatNumber(value) : listed(value);
    return `<tr><th scope="row">${escapeHtml(name)}</th><td>${escapeHtml(text)}</td></tr>`;
  });
  return `<section><h2>${escapeHtml(heading)}</h2><table>${rows.join("")}</table></section>`;
}

function listed(value: unknown): string {
  if (Array.isArray(value)) return value.join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
