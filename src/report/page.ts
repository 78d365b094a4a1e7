import { Sha256 } from "../io/sha256.ts";
import { escapeHtml } from "../text/html.ts";
import { formatNumber } from "../text/numbers.ts";
import { type Chart, renderChart } from "./chart.ts";
import { seriesClass } from "./scale.ts";
import { script, style } from "./style.ts";

interface Page {
  title: string;
  /** a line under the title */
  subtitle?: string;
  /** HTML between heading and footer, already escaped */
  body: string;
  /** text of the footer */
  footer: string;
  /** CSS rules added to those that all reports share */
  style?: string;
  /** whether the page shows images, which it holds itself */
  images?: boolean;
}

/**
 * A report as one self-contained HTML file. The page's CSP forbids all requests, and all scripts except the pointer's.
 */
export function renderPage({ title, subtitle, body, footer, style: more = "", images = false }: Page): string {
  const policy = [
    "default-src 'none'",
    "style-src 'unsafe-inline'",
    ...(images ? ["img-src data:"] : []),
    `script-src 'sha256-${sha256Base64(script)}'`,
  ].join("; ");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(title)}</title>
<style>${style}${more}</style>
</head>
<body>
<main>
<header>
<h1>${escapeHtml(title)}</h1>
${subtitle ? `<p>${escapeHtml(subtitle)}</p>` : ""}
</header>
${body}
<footer>${escapeHtml(footer)}</footer>
</main>
<script>${script}</script>
</body>
</html>
`;
}

/** The most important numbers, each with its label and text. */
export function headline(items: readonly (readonly [label: string, text: string])[]): string {
  const shown = items.map(([label, text]) => `<div><dt>${escapeHtml(label)}</dt><dd>${escapeHtml(text)}</dd></div>`);
  return shown.length === 0 ? "" : `<dl class="headline">${shown.join("")}</dl>`;
}

/** A chart with its title and a key that shows the last values, or the values at the pointer. */
export function chartFigure(chart: Chart): string {
  const several = chart.series.length > 1;
  const keys = chart.series.map(({ name, label, points }, i) => {
    const value = points.findLast(([, y]) => Number.isFinite(y));
    const key = several ? `<i></i>${escapeHtml(label)} ` : "";
    return `<span class="key ${seriesClass(i)}" title="${escapeHtml(name)}">${key}<b data-series="${i}">${formatNumber(value?.[1])}</b></span>`;
  });
  const last = Math.max(...chart.series.map(({ points }) => points.at(-1)?.[0] ?? 0));
  return (
    `<figure><figcaption><strong>${escapeHtml(chart.title)}</strong>` +
    `<span class="keys">${keys.join("")}<span class="at">${escapeHtml(chart.xLabel)} ${last}</span></span></figcaption>${renderChart(chart)}</figure>`
  );
}

function sha256Base64(text: string): string {
  const hex = new Sha256().update(new TextEncoder().encode(text)).hex();
  return btoa(hex.replace(/../g, (byte) => String.fromCharCode(Number.parseInt(byte, 16))));
}
