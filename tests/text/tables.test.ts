import { expect, test } from "vitest";
import { formatBytes, formatFileSize } from "../../src/text/bytes.ts";
import {
  counted,
  formatCount,
  formatFixed,
  formatNumber,
  formatPercent,
  formatShare,
  formatSigned,
} from "../../src/text/numbers.ts";
import { markdownCell, markdownTable, renderTable } from "../../src/text/tables.ts";
import { formatSeconds } from "../../src/text/times.ts";

const columns = [{ heading: "check" }, { heading: "error", align: "right" }] as const;

test("columns are padded and numbers stand on the right", () => {
  expect(
    renderTable(columns, [
      ["logits", 1.25e-6],
      ["a loss", 12],
    ]),
  ).toBe(["check     error", "──────  ───────", "logits  1.25e-6", "a loss       12", ""].join("\n"));
  expect(renderTable(columns, [])).toBe("check  error\n─────  ─────\n");
});

test("the widest text gives way in a narrow terminal, and cells hold no control characters", () => {
  const text = renderTable(columns, [["x".repeat(80), 1]], 30);
  for (const line of text.trimEnd().split("\n")) expect(line.length).toBeLessThanOrEqual(30);
  expect(text).toContain("…");
  expect(renderTable(columns, [["a\u001b[31m\nb", null]])).toContain("a [31m b");
});

test("sizes, spans and numbers read well", () => {
  expect([0, 1023, 1024, 273_679_360, 1.5 * 2 ** 40, -2048].map(formatBytes)).toEqual([
    "0 B",
    "1023 B",
    "1.00 KiB",
    "261 MiB",
    "1.50 TiB",
    "−2.00 KiB",
  ]);
  expect([0.25, 8, 59.6, 65, 3599.7, 7620, 273_600, Number.NaN, -1].map(formatSeconds)).toEqual([
    "0.3 s",
    "8.0 s",
    "1 min 00 s",
    "1 min 05 s",
    "1 h 00 min",
    "2 h 07 min",
    "3 d 04 h",
    "—",
    "—",
  ]);
  expect([2.1e-5, 0.861345, -12.3456, 184230, 1e4, 0, Number.NaN, null, "x"].map(formatNumber)).toEqual([
    "2.1e-5",
    "0.8613",
    "−12.35",
    "184,230",
    "10,000",
    "0",
    "NaN",
    "—",
    "x",
  ]);
});

test("file sizes are decimal, as file managers count them", () => {
  expect([0, 999, 1500, 999_600, 988_097_824, 3_087_000_000].map(formatFileSize)).toEqual([
    "0 B",
    "999 B",
    "1.5 kB",
    "1.0 MB",
    "988 MB",
    "3.1 GB",
  ]);
});

test("counts, percents, shares, differences and plurals", () => {
  expect([640, 9_500, 524_672, 1_250_000, 494_032_768, 1.54e9].map(formatCount)).toEqual([
    "640",
    "9,500",
    "525 k",
    "1.3 M",
    "494 M",
    "1.5 B",
  ]);
  expect([formatFixed(65.62), formatFixed(null), formatPercent(41.25), formatPercent(null)]).toEqual([
    "65.6",
    "—",
    "41.3 %",
    "—",
  ]);
  expect([formatShare(0.4125), formatShare(0.4125, 1)]).toEqual(["41 %", "41.3 %"]);
  expect([12.49, -3.06, -0.04].map((value) => formatSigned(value))).toEqual(["+12.5", "−3.1", "0.0"]);
  expect([counted(1, "problem"), counted(1200, "problem"), counted(0, "reply", "replies")]).toEqual([
    "1 problem",
    "1,200 problems",
    "0 replies",
  ]);
});

test("a table in Markdown, and a cell of it that shows any text as it is", () => {
  const table = markdownTable([{ heading: "a" }, { heading: "b", align: "right" }], [[markdownCell("x|*y*"), 1]]);
  expect(table).toBe("| a | b |\n| --- | ---: |\n| x\\|\\*y\\* | 1 |");
});
