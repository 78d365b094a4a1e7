import { expect, test } from "vitest";
import { formatBytes, formatNumber, formatSeconds, renderTable } from "../../src/cli/terminal/table.ts";

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
    "-2.00 KiB",
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
  expect([2.1e-5, 0.861345, 12.3456, 184230, 1e4, 0, Number.NaN, null, "x"].map(formatNumber)).toEqual([
    "2.1e-5",
    "0.8613",
    "12.35",
    "184 230",
    "10 000",
    "0",
    "NaN",
    "—",
    "x",
  ]);
});
