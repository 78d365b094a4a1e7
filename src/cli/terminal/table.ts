import { formatNumber } from "../../report/text.ts";

export { formatNumber };

/** A column of a text table: its heading, and on which side its cells stand. */
export interface Column {
  readonly heading: string;
  readonly align?: "left" | "right";
}

/**
 * Lays out rows as text, columns padded to their widest cell, two spaces apart, a line under the headings.
 *
 * @param width columns of the terminal; the widest left-aligned column gives way, its cells cut with `…`
 */
export function renderTable(
  columns: readonly Column[],
  rows: readonly (readonly unknown[])[],
  width = Number.POSITIVE_INFINITY,
): string {
  const cells = rows.map((row) => columns.map((_, i) => clean(row[i])));
  const widths = columns.map(({ heading }, i) => Math.max(heading.length, ...cells.map((row) => row[i].length)));
  const spare = width - widths.reduce((sum, w) => sum + w, 2 * (columns.length - 1));
  if (spare < 0) {
    const left = columns.map((column, i) => (column.align === "right" ? -1 : widths[i]));
    const widest = left.indexOf(Math.max(...left));
    if (widest >= 0 && left[widest] > 0) widths[widest] = Math.max(8, widths[widest] + spare);
  }
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => {
        const cut = cell.length > widths[i] ? `${cell.slice(0, widths[i] - 1)}…` : cell;
        return columns[i].align === "right" ? cut.padStart(widths[i]) : cut.padEnd(widths[i]);
      })
      .join("  ")
      .trimEnd();
  const rule = widths.map((w) => "─".repeat(w)).join("  ");
  return `${[line(columns.map((column) => column.heading)), rule, ...cells.map(line)].join("\n")}\n`;
}

/** Bytes in binary units, as memory is counted: 273_679_360 is `261 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = Math.abs(bytes);
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${bytes < 0 ? "-" : ""}${value.toFixed(digits)} ${units[unit]}`;
}

/** A span as a person says it: `8 s`, `1 min 05 s`, `2 h 07 min`, `3 d 04 h`. */
export function formatSeconds(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return "—";
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const two = (n: number) => String(n).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  const hours = Math.round(minutes / 60);
  return `${Math.floor(hours / 24)} d ${two(hours % 24)} h`;
}

/** One line, no control characters: a cell may hold text from a model or a data set. */
function clean(value: unknown): string {
  const text =
    typeof value === "number" ? formatNumber(value) : value === null || value === undefined ? "" : `${value}`;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ");
}
