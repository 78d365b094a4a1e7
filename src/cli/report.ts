import { createHash } from "node:crypto";
import { type Chart, escapeHtml, renderChart, type Series } from "./report-chart.ts";
import type { LogRecord } from "./run-log.ts";
import { formatNumber } from "./table.ts";

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
  /** memory forecast and peak, by name */
  plan?: Readonly<Record<string, unknown>>;
  /** figures of the whole run, such as train_runtime, by name */
  summary?: Readonly<Record<string, unknown>>;
}

/** charts in order; a name that no log holds is left out, and so is a chart without names */
const charts: readonly { title: string; names: readonly string[] }[] = [
  { title: "Loss", names: ["loss", "eval_loss"] },
  { title: "Mean token accuracy", names: ["mean_token_accuracy", "eval_mean_token_accuracy"] },
  { title: "Entropy, nats", names: ["entropy", "eval_entropy"] },
  { title: "Gradient norm before clipping", names: ["grad_norm"] },
  { title: "Learning rate", names: ["learning_rate"] },
  { title: "Tokens per second", names: ["tokens_per_second"] },
];

/**
 * A run as one HTML file that needs nothing else: curves as inline SVG, last values, environment, memory and recipe.
 *
 * All text is escaped. The page's policy forbids every request, and any script but the one for the pointer.
 */
export function renderReport({ title, subtitle, recipe, logs, environment, plan, summary }: Report): string {
  const policy = [
    "default-src 'none'",
    "style-src 'unsafe-inline'",
    `script-src 'sha256-${createHash("sha256").update(script).digest("base64")}'`,
  ].join("; ");
  const drawn = charts
    .map(({ title, names }) => chartOf(title, names, logs))
    .filter((chart): chart is Chart => chart !== null);
  const last = lastValues(logs);
  const sections = [
    drawn.length > 0
      ? `<section class="charts">${drawn.map(figure).join("")}</section>`
      : `<p class="empty">No step was logged.</p>`,
    `<div class="tables">`,
    table("Last values", last),
    table("Run", summary),
    table("Memory", plan),
    table("Environment", environment),
    `</div>`,
    `<section><h2>Recipe</h2><pre>${escapeHtml(recipe.trimEnd())}</pre></section>`,
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(title)}</title>
<style>${style}</style>
</head>
<body>
<main>
<header>
<h1>${escapeHtml(title)}</h1>
${subtitle ? `<p>${escapeHtml(subtitle)}</p>` : ""}
</header>
${headline(last)}
${sections.join("\n")}
<footer>Written by Qwench. The curves are in metrics.jsonl beside this file.</footer>
</main>
<script>${script}</script>
</body>
</html>
`;
}

function chartOf(title: string, names: readonly string[], logs: readonly LogRecord[]): Chart | null {
  const series: Series[] = names
    .map((name) => ({
      name,
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
function headline(last: Readonly<Record<string, unknown>>): string {
  const wanted: [name: string, label: string][] = [
    ["loss", "loss"],
    ["eval_loss", "eval loss"],
    ["mean_token_accuracy", "token accuracy"],
    ["step", "steps"],
    ["num_tokens", "tokens"],
    ["tokens_per_second", "tokens / s"],
  ];
  const items = wanted
    .filter(([name]) => typeof last[name] === "number")
    .map(([name, label]) => `<div><dt>${label}</dt><dd>${escapeHtml(formatNumber(last[name]))}</dd></div>`);
  return items.length === 0 ? "" : `<dl class="headline">${items.join("")}</dl>`;
}

function figure(chart: Chart): string {
  const both = chart.series.length > 1;
  const keys = chart.series.map(({ name, points }, i) => {
    const value = points.findLast(([, y]) => Number.isFinite(y));
    const label = both ? `<i></i>${name.startsWith("eval_") ? "eval" : "train"} ` : "";
    return `<span class="key s${i}" title="${escapeHtml(name)}">${label}<b data-series="${i}">${formatNumber(value?.[1])}</b></span>`;
  });
  const step = Math.max(...chart.series.map(({ points }) => points.at(-1)?.[0] ?? 0));
  return (
    `<figure><figcaption><strong>${escapeHtml(chart.title)}</strong>` +
    `<span class="keys">${keys.join("")}<span class="at">step ${step}</span></span></figcaption>${renderChart(chart)}</figure>`
  );
}

function table(heading: string, values: Readonly<Record<string, unknown>> | undefined): string {
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

const style = `
:root{--paper:#fbfaf8;--card:#fff;--ink:#1c1b19;--soft:#6b6862;--rule:#e4e1db;--s0:#1f5fa8;--s1:#b8541a}
@media (prefers-color-scheme:dark){:root{--paper:#161614;--card:#1e1e1b;--ink:#ecebe6;--soft:#9d9a92;--rule:#33322e;--s0:#7db4ee;--s1:#ee9a62}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif;-webkit-text-size-adjust:100%}
main{max-width:1120px;margin:0 auto;padding:40px 24px 56px}
header p{margin:4px 0 0;color:var(--soft)}
h1{margin:0;font-size:26px;line-height:1.25;font-weight:600;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{margin:0 0 8px;font-size:15px;font-weight:600}
.headline{display:flex;flex-wrap:wrap;gap:12px 40px;margin:28px 0;padding:16px 0;border:solid var(--rule);border-width:1px 0}
.headline dt{font-size:13px;color:var(--soft)}
.headline dd{margin:0;font-size:21px;line-height:1.3;font-weight:500;font-variant-numeric:tabular-nums}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:16px}
figure{margin:0;padding:14px 16px 10px;background:var(--card);border:1px solid var(--rule);border-radius:6px;min-width:0}
figcaption{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 16px;margin-bottom:6px;font-size:13px}
figcaption strong{font-weight:600}
.keys{display:flex;flex-wrap:wrap;gap:0 14px;color:var(--soft);font-variant-numeric:tabular-nums}
.keys b{color:var(--ink);font-weight:500}
.key i{display:inline-block;width:12px;height:2px;margin-right:6px;vertical-align:middle;background:var(--s0)}
.key.s1 i{background:var(--s1)}
svg{display:block;width:100%;height:auto;touch-action:pan-y}
.grid{stroke:var(--rule)}.axis,.cursor{stroke:var(--soft);stroke-opacity:.6}
.tick{fill:var(--soft);font-size:11.5px;font-variant-numeric:tabular-nums}
.line{fill:none;stroke:var(--s0);stroke-width:1.6;stroke-linejoin:round;stroke-linecap:round}
.line.s1{stroke:var(--s1)}.dot{fill:var(--s0)}.dot.s1{fill:var(--s1)}
.tables{columns:2 380px;column-gap:40px;margin:36px 0 32px}
.tables section{break-inside:avoid;margin-bottom:28px}
table{width:100%;border-collapse:collapse;font-size:14px}
tr{border-top:1px solid var(--rule)}
th,td{padding:5px 0;text-align:left;vertical-align:top;font-weight:400;overflow-wrap:anywhere}
th{padding-right:16px;color:var(--soft)}
td{font-variant-numeric:tabular-nums;text-align:right}
pre{margin:0;padding:16px;overflow:auto;background:var(--card);border:1px solid var(--rule);border-radius:6px;font:13px/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
footer{margin-top:32px;font-size:13px;color:var(--soft)}
.empty{color:var(--soft)}
@media (max-width:560px){main{padding:24px 16px 40px}h1{font-size:22px}.headline{gap:12px 28px;margin:20px 0}.tick{font-size:16px}.tick.name{display:none}}
@media print{figure,tr{break-inside:avoid}}
`;

// shows the values at the step nearest to the pointer; every text goes in as text
const script = `
for (const svg of document.querySelectorAll("svg[data-points]")) {
  const series = JSON.parse(svg.dataset.points);
  const caption = svg.parentElement.querySelector("figcaption");
  const at = caption.querySelector(".at");
  const values = [...caption.querySelectorAll("b[data-series]")];
  const before = [at.textContent, ...values.map((b) => b.textContent)];
  const cursor = svg.querySelector(".cursor");
  const nearest = (points, x) => points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const all = series.flatMap((s) => s.points);
    if (all.length === 0) return;
    const here = nearest(all, x);
    cursor.setAttribute("x1", here[0]);
    cursor.setAttribute("x2", here[0]);
    cursor.setAttribute("visibility", "visible");
    at.textContent = svg.dataset.x + " " + here[2];
    series.forEach((s, i) => {
      const point = s.points.findLast((p) => p[2] <= here[2]);
      if (values[i]) values[i].textContent = point ? point[3] : "\\u2013";
    });
  });
  svg.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    at.textContent = before[0];
    values.forEach((b, i) => { b.textContent = before[i + 1]; });
  });
}
`;
