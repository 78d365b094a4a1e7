import { escapeHtml } from "../src/text/html.ts";

/** What a part came to. */
export interface DayPart {
  name: string;
  command: string;
  seconds: number;
  /** exit code, or why there is none */
  end: number | string;
  /** objects that it printed a line each */
  rows: Record<string, unknown>[];
  /** the rest of what it printed, at most its last 200 lines */
  text: string;
}

export interface Day {
  commit: string;
  date: string;
  node: string;
  small: boolean;
  seconds: number;
  parts: DayPart[];
}

/** Columns of rows that say something to people; the JSON has the others. */
const COLUMNS = [
  "what",
  "kernel",
  "shape",
  "dtype",
  "median_ms",
  "gflops",
  "tokens_per_s",
  "ratio",
  "against",
] as const;

function table(rows: DayPart["rows"]): string {
  const columns = COLUMNS.filter((name) => rows.some((row) => row[name] !== undefined && row[name] !== null));
  const cell = (value: unknown) =>
    typeof value === "number" ? `<td class="n">${value.toPrecision(4)}</td>` : `<td>${escapeHtml(value ?? "")}</td>`;
  const head = columns.map((name) => `<th scope="col">${name}</th>`).join("");
  const body = rows.map((row) => `<tr>${columns.map((name) => cell(row[name])).join("")}</tr>`).join("\n");
  return `<table><thead><tr>${head}</tr></thead><tbody>\n${body}\n</tbody></table>`;
}

/** A day as a page that needs nothing else. */
export function dayPage({ commit, date, node, small, seconds, parts }: Day): string {
  const sections = parts.map((part) => {
    const state = part.end === 0 ? "ok" : `not ok: ${part.end}`;
    const rows = part.rows.length > 0 ? table(part.rows) : "";
    const text = part.text === "" ? "" : `<pre>${escapeHtml(part.text)}</pre>`;
    return `<section><h2>${escapeHtml(part.name)} <small>${escapeHtml(state)}, ${part.seconds.toFixed(0)} s</small></h2>
<p><code>${escapeHtml(part.command)}</code></p>${rows}${text}</section>`;
  });
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>A day at a GPU</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse } th, td { border-bottom: 1px solid #ccc; padding: .15rem .6rem; text-align: left }
td.n { text-align: right; font-variant-numeric: tabular-nums } pre { background: #f4f4f4; overflow: auto; padding: .6rem } small { font-weight: normal }
</style>
<h1>A day at a GPU</h1>
<p>Qwench ${escapeHtml(commit)}, ${escapeHtml(date)}, Node ${escapeHtml(node)}, ${seconds.toFixed(0)} s${small ? ", small sizes: times mean nothing" : ""}.</p>
${sections.join("\n")}
</html>
`;
}
