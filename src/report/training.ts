import { formatNumber } from "../text/numbers.ts";
import { type Chart, escapeHtml, type Series } from "./chart.ts";
import { renderCompletions } from "./completions.ts";
import { chartFigure, headline, renderPage } from "./page.ts";
import { type CompletionBatch, type LogRecord, shortName } from "./text.ts";

export interface Report {
  /** heading, such as the model and the data set */
  title: string;
  /** a line under it: what kind of run, how it ended, when */
  subtitle?: string;
  /** the recipe as YAML */
  recipe: string;
  /** logs in order, as metrics.jsonl holds them */
  logs: readonly LogRecord[];
  /** adapter, runtime and versions, by name */
  environment?: Readonly<Record<string, unknown>>;
  /** generation batches to show, of a run that generates */
  completions?: readonly CompletionBatch[];
  /** memory forecast and peak, by name */
  plan?: Readonly<Record<string, unknown>>;
  /** figures of the whole run, such as train_runtime, by name */
  summary?: Readonly<Record<string, unknown>>;
  /** whether it is alone, without metrics.jsonl and completions/ beside it; default false */
  alone?: boolean;
}

/** Names of logs that a chart draws, and what its key calls each. */
type Names = readonly (readonly [name: string, label: string])[];

const both = (name: string): Names => [
  [name, "train"],
  [`eval_${name}`, "eval"],
];

/** charts in order; a name that no log holds is left out, and so is a chart without names */
const charts: readonly { title: string; names: Names | ((all: readonly string[]) => Names) }[] = [
  { title: "Reward", names: both("reward") },
  {
    title: "Reward by function",
    names: (all) =>
      all
        .flatMap((name) => /^rewards\/(.+)\/mean$/.exec(name)?.[1] ?? [])
        .map((fn) => [`rewards/${fn}/mean`, shortName(fn)]),
  },
  { title: "Loss", names: both("loss") },
  {
    title: "Completion length, tokens",
    names: [
      ["completions/mean_length", "mean"],
      ["completions/max_length", "longest"],
      ["completions/min_length", "shortest"],
    ],
  },
  { title: "Share of completions cut off", names: both("completions/clipped_ratio") },
  { title: "Share of prompts whose rewards are all equal", names: both("frac_reward_zero_std") },
  { title: "KL to the reference, nats", names: [["kl", "kl"]] },
  { title: "Share of tokens clipped", names: [["clip_ratio/region_mean", "clipped"]] },
  { title: "Mean token accuracy", names: both("mean_token_accuracy") },
  { title: "Entropy, nats", names: both("entropy") },
  { title: "Gradient norm before clipping", names: [["grad_norm", "norm"]] },
  { title: "Learning rate", names: [["learning_rate", "rate"]] },
  { title: "Tokens per second", names: [["tokens_per_second", "rate"]] },
  { title: "Seconds per step", names: [["step_time", "time"]] },
];

/**
 * A run as one HTML file that needs nothing else: curves as inline SVG, last values, environment, memory and recipe.
 *
 * All text is escaped. The page's policy forbids every request, and any script but the one for the pointer.
 */
export function renderReport({
  title,
  subtitle,
  recipe,
  logs,
  completions = [],
  environment,
  plan,
  summary,
  alone = false,
}: Report): string {
  const all = [...new Set(logs.flatMap((log) => Object.keys(log)))];
  const drawn = charts
    .map(({ title, names }) => chartOf(title, typeof names === "function" ? names(all) : names, logs))
    .filter((chart): chart is Chart => chart !== null);
  const last = lastValues(logs);
  const sections = [
    drawn.length > 0
      ? `<section class="charts">${drawn.map(chartFigure).join("")}</section>`
      : `<p class="empty">No step was logged.</p>`,
    renderCompletions(completions, alone),
    `<div class="tables">`,
    table("Last values", last),
    table("Run", summary),
    table("Memory", plan),
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

function chartOf(title: string, names: Names, logs: readonly LogRecord[]): Chart | null {
  const series: Series[] = names
    .map(([name, label]) => ({
      name,
      label,
      points: logs.filter((log) => name in log).map((log) => [log.step, asNumber(log[name])] as const),
    }))
    .filter(({ points }) => points.some(([, y]) => Number.isFinite(y)));
  return series.length === 0 ? null : { title, series, xLabel: "step" };
}

/** NaN for null, which is how JSON holds a loss that was not finite. */
function asNumber(value: unknown): number {
  return typeof value === "number" ? value : Number.NaN;
}

/** The newest value of each name. */
function lastValues(logs: readonly LogRecord[]): Record<string, unknown> {
  const last: Record<string, unknown> = {};
  for (const log of logs) Object.assign(last, log);
  return last;
}

/** The few numbers that one looks for first. */
function firstLooks(last: Readonly<Record<string, unknown>>): [label: string, text: string][] {
  const wanted: [name: string, label: string][] = [
    ["reward", "reward"],
    ["eval_reward", "eval reward"],
    ["completions/mean_length", "tokens a completion"],
    ["loss", "loss"],
    ["eval_loss", "eval loss"],
    ["mean_token_accuracy", "token accuracy"],
    ["step", "steps"],
    ["num_tokens", "tokens"],
    ["tokens_per_second", "tokens / s"],
  ];
  return wanted
    .filter(([name]) => typeof last[name] === "number")
    .map(([name, label]) => [label, formatNumber(last[name])]);
}

/** A chart with its title and key. */
export function table(heading: string, values: Readonly<Record<string, unknown>> | undefined): string {
  const entries = Object.entries(values ?? {});
  if (entries.length === 0) return "";
  const rows = entries.map(([name, value]) => {
    const text = typeof value === "number" || value === null ? formatNumber(value) : show(value);
    return `<tr><th scope="row">${escapeHtml(name)}</th><td>${escapeHtml(text)}</td></tr>`;
  });
  return `<section><h2>${escapeHtml(heading)}</h2><table>${rows.join("")}</table></section>`;
}

function show(value: unknown): string {
  if (Array.isArray(value)) return value.join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
