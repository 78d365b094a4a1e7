import { formatFileSize } from "../text/bytes.ts";
import { escapeHtml } from "../text/html.ts";
import { formatNumber, formatPercent } from "../text/numbers.ts";
import type { Chart } from "./chart.ts";
import { chartFigure, headline, renderPage } from "./page.ts";

interface ReportPair {
  question: string;
  answer: string;
  reasoning?: string;
  rating: number | null;
  reason?: string;
}

/** What the report of `qwench data` shows. */
export interface DataReport {
  documents: readonly { source: string; format: string; pages: number; bytes: number; characters: number }[];
  chunks: readonly {
    source: string;
    chunk: string;
    pages: readonly number[];
    kept: readonly ReportPair[];
    dropped: readonly ReportPair[];
    /** replies that could not be read */
    unread: number;
  }[];
}

/** Most pairs in the table; the JSON files have all. */
const MOST_PAIRS = 5000;
/** Characters of an answer in the table. */
const MOST_CHARACTERS = 2000;

const STYLE = `
.tables td:first-child,.tables thead th:first-child{text-align:left}
.tables thead th{text-align:right;padding:5px 0 5px 16px}
.tables td{padding-left:16px;white-space:nowrap}
.filter{display:flex;flex-wrap:wrap;gap:4px 20px;margin:8px 0 16px;color:var(--soft)}
.filter label{cursor:pointer}
.pair{background:var(--card);border:1px solid var(--rule);border-top-width:0;padding:10px 16px}
.pairs>.pair:first-child{border-top-width:1px}
.pair p{margin:0 0 4px;color:var(--ink);white-space:pre-wrap;overflow-wrap:anywhere}
.pair .asked{font-weight:500}
.pair .facts{color:var(--soft);font-size:13px;margin:0}
.pair.out .asked{color:var(--soft)}
.pair .why{color:var(--s1)}
main:has(#kept:checked) .pair.out,main:has(#dropped:checked) .pair.in{display:none}
`;

/** `qwench data`'s results as one self-contained HTML file: pairs by document and rating, reasons, lengths, and all pairs. */
export function renderDataReport({ documents, chunks }: DataReport): string {
  const kept = chunks.flatMap((chunk) => chunk.kept);
  const dropped = chunks.flatMap((chunk) => chunk.dropped);
  const unread = chunks.reduce((sum, chunk) => sum + chunk.unread, 0);
  const total = kept.length + dropped.length;
  const rated = [...kept, ...dropped].some(({ rating }) => rating !== null);
  const looks: [string, string][] = [
    ["documents", formatNumber(documents.length)],
    ["chunks", formatNumber(chunks.length)],
    ["pairs", formatNumber(total)],
    ["kept", `${formatNumber(kept.length)} (${formatPercent(total === 0 ? 0 : (100 * kept.length) / total)})`],
    ["unreadable replies", formatNumber(unread)],
  ];
  const charts = total === 0 ? [] : [...(rated ? [ratingChart(kept, dropped)] : []), lengthChart(kept, dropped)];
  const body = [
    headline(looks),
    charts.length > 0 ? `<section class="charts">${charts.map(chartFigure).join("")}</section>` : "",
    `<div class="tables">${documentTable(documents, chunks)}${reasonTable(dropped)}</div>`,
    pairList(chunks, kept.length, dropped.length),
  ].join("\n");
  return renderPage({
    title: "Training rows from documents",
    subtitle: `${formatNumber(documents.length)} documents, ${formatNumber(total)} pairs`,
    body,
    footer: "Written by Qwench. The files in generated/ and cleaned/ hold all pairs in full.",
    style: STYLE,
  });
}

const ratingsOf = (pairs: readonly ReportPair[]) => {
  const counts = new Array<number>(10).fill(0);
  for (const { rating } of pairs) if (rating !== null) counts[Math.min(9, Math.max(0, Math.round(rating) - 1))]++;
  return counts.map((count, i) => [i + 1, count] as const);
};

function ratingChart(kept: readonly ReportPair[], dropped: readonly ReportPair[]): Chart {
  return {
    title: "Pairs by rating",
    xLabel: "rating",
    series: [
      { name: "kept", label: "kept", points: ratingsOf(kept) },
      { name: "left out", label: "left out", points: ratingsOf(dropped) },
    ],
  };
}

/** Words of answers in ten bins, each a tenth of the longest answer. */
function lengthChart(kept: readonly ReportPair[], dropped: readonly ReportPair[]): Chart {
  const words = ({ answer }: ReportPair) => answer.split(/\s+/).length;
  const lengths = [...kept, ...dropped].map(words);
  const width = Math.max(1, Math.ceil(lengths.reduce((a, b) => Math.max(a, b), 1) / 10));
  const bins = (pairs: readonly ReportPair[]) => {
    const counts = new Array<number>(10).fill(0);
    for (const pair of pairs) counts[Math.min(9, Math.floor((words(pair) - 1) / width))]++;
    return counts.map((count, i) => [(i + 1) * width, count] as const);
  };
  return {
    title: "Pairs by the words of their answer",
    xLabel: "up to",
    series: [
      { name: "kept", label: "kept", points: bins(kept) },
      { name: "left out", label: "left out", points: bins(dropped) },
    ],
  };
}

function documentTable(documents: DataReport["documents"], chunks: DataReport["chunks"]): string {
  const rows = documents.map(({ source, format, pages, bytes, characters }) => {
    const own = chunks.filter((chunk) => chunk.source === source);
    const kept = own.reduce((sum, chunk) => sum + chunk.kept.length, 0);
    const dropped = own.reduce((sum, chunk) => sum + chunk.dropped.length, 0);
    const cells = [
      `${format}${pages > 0 ? `, ${formatNumber(pages)} pages` : ""}, ${formatFileSize(bytes)}`,
      formatNumber(characters),
      own.length,
      kept,
      dropped,
    ];
    return `<tr><th scope="row">${escapeHtml(source)}</th>${cells.map((cell) => `<td>${escapeHtml(cell)}</td>`).join("")}</tr>`;
  });
  const heads = ["file", "characters", "chunks", "kept", "left out"].map((name) => `<th scope="col">${name}</th>`);
  return `<section><h2>Documents</h2><table><thead><tr><th></th>${heads.join("")}</tr></thead><tbody>${rows.join("")}</tbody></table></section>`;
}

function reasonTable(dropped: readonly ReportPair[]): string {
  if (dropped.length === 0) return "";
  const counts = new Map<string, number>();
  for (const { reason = "" } of dropped) {
    const kind = /^duplicate/.test(reason) ? "duplicate of another pair" : reason;
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  const rows = [...counts]
    .sort((a, b) => b[1] - a[1])
    .map(([reason, count]) => `<tr><th scope="row">${escapeHtml(reason)}</th><td>${count}</td></tr>`);
  return `<section><h2>Left out, by reason</h2><table>${rows.join("")}</table></section>`;
}

function pairList(chunks: DataReport["chunks"], kept: number, dropped: number): string {
  const all = chunks.flatMap((chunk) => [...chunk.kept, ...chunk.dropped].map((pair) => ({ chunk, pair })));
  const shown = all.slice(0, MOST_PAIRS).map(({ chunk, pair }) => {
    const { question, answer, reasoning, rating, reason } = pair;
    const pages = chunk.pages.length > 0 ? [`page ${chunk.pages.join(", ")}`] : [];
    const facts = [chunk.source, chunk.chunk, ...pages, ...(rating === null ? [] : [`rating ${rating}`])];
    const why = reason === undefined ? "" : ` · <span class="why">${escapeHtml(reason)}</span>`;
    return (
      `<div class="pair ${reason === undefined ? "in" : "out"}"><p class="asked">${escapeHtml(cut(question))}</p>` +
      `${reasoning ? `<p>${escapeHtml(cut(reasoning))}</p>` : ""}<p>${escapeHtml(cut(answer))}</p>` +
      `<p class="facts">${facts.map(escapeHtml).join(" · ")}${why}</p></div>`
    );
  });
  const choices: [id: string, text: string, count: number][] = [
    ["every", "all", kept + dropped],
    ["kept", "kept", kept],
    ["dropped", "left out", dropped],
  ];
  const filter = choices.map(
    ([id, text, count]) =>
      `<label><input type="radio" name="filter" id="${id}"${id === "every" ? " checked" : ""}> ${text} <small>${count}</small></label>`,
  );
  const rest =
    all.length > shown.length ? `<p class="empty">${shown.length} of ${all.length} pairs are shown.</p>` : "";
  return `<section class="completions"><h2>Pairs</h2><div class="filter">${filter.join("")}</div>${rest}<div class="pairs">${shown.join("\n")}</div></section>`;
}

function cut(text: string): string {
  return text.length <= MOST_CHARACTERS ? text : `${text.slice(0, MOST_CHARACTERS).replace(/[\ud800-\udbff]$/, "")}…`;
}
