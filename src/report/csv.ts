import type { Series } from "./metrics.ts";
import type { LogRecord } from "./text.ts";

/** Logs as CSV: one row per log, one column per name in order of first appearance, missing numbers empty. */
export function logsCsv(logs: readonly LogRecord[]): string {
  const names = [...new Set(["step", ...logs.flatMap((log) => Object.keys(log))])];
  return csv([names, ...logs.map((log) => names.map((name) => log[name]))]);
}

/** The series of a chart as CSV: one row per x, one column per series. @param x name of the first column */
export function seriesCsv(series: readonly Series[], x: string): string {
  const rows = new Map<number, unknown[]>();
  for (const [i, { points }] of series.entries()) {
    for (const [at, y] of points) {
      const row = rows.get(at) ?? series.map(() => "");
      row[i] = Number.isFinite(y) ? y : "";
      rows.set(at, row);
    }
  }
  const sorted = [...rows].sort(([a], [b]) => a - b);
  return csv([[x, ...series.map(({ label }) => label)], ...sorted.map(([at, row]) => [at, ...row])]);
}

function csv(rows: readonly (readonly unknown[])[]): string {
  return `${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

/** Quoted as RFC 4180 has it. A text that a spreadsheet would take for a formula begins with an apostrophe. */
function cell(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return Number.isFinite(value) ? String(value) : "";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
