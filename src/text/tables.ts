import { formatNumber } from "./numbers.ts";
import { cut, flat } from "./show.ts";

/** A column of a text table: its heading and alignment. */
export interface Column {
  readonly heading: string;
  readonly align?: "left" | "right";
}

/**
 * Formats rows as text. Columns are padded to their widest cell and two spaces apart, with a line under the headings.
 *
 * @param width the terminal's columns; the widest left-aligned column shrinks, and its cells end with `…`
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
        const short = cut(cell, widths[i]);
        return columns[i].align === "right" ? short.padStart(widths[i]) : short.padEnd(widths[i]);
      })
      .join("  ")
      .trimEnd();
  const rule = widths.map((w) => "─".repeat(w)).join("  ");
  return `${[line(columns.map((column) => column.heading)), rule, ...cells.map(line)].join("\n")}\n`;
}

/** A table in Markdown. Cells are not escaped; see {@link markdownCell}. */
export function markdownTable(columns: readonly Column[], rows: readonly (readonly unknown[])[]): string {
  const line = (cells: readonly unknown[]) => `| ${cells.join(" | ")} |`;
  const rule = columns.map(({ align }) => (align === "right" ? "---:" : "---"));
  return [line(columns.map(({ heading }) => heading)), line(rule), ...rows.map(line)].join("\n");
}

/** Escapes any text for a cell of {@link markdownTable}. */
export function markdownCell(text: string): string {
  return text.replace(/\s+/g, " ").replace(/[\\|<>`*_[\]]/g, (character) => `\\${character}`);
}

/** One line, no control characters: a cell may hold text from a model or a data set. */
function clean(value: unknown): string {
  if (typeof value === "number") return formatNumber(value);
  return value === null || value === undefined ? "" : flat(`${value}`);
}
