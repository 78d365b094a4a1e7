import type { OcrChange, OcrComparison } from "../../eval/compare/ocr.ts";
import { interval } from "../../report/compare-text.ts";
import { counted, formatPercent, formatShare } from "../../text/numbers.ts";
import { type Column, renderTable } from "../../text/tables.ts";
import { plainText } from "./plain-text.ts";

/** Most samples of a list in the terminal. */
const MOST = 10;

const left = (heading: string): Column => ({ heading });
const right = (heading: string): Column => ({ heading, align: "right" });

/** A comparison of OCR evaluations as text for the terminal. @param width columns of the terminal */
export function ocrComparisonText(compared: OcrComparison, width?: number): string {
  const { notes, dataset, samples, base, models, best, worse, better } = compared;
  const columns = [
    left("model"),
    ...["CER %", "WER %", "CER of all %", "WER of all %", "exact %"].map(right),
    right(`CER below ${base} (95 %)`),
  ];
  const percent = (share: number) => (100 * share).toFixed(1);
  const rows = models.map((row) => [
    row.name,
    ...[row.avg_cer, row.avg_wer, row.cer, row.wer, row.exact].map(percent),
    row.improvement === null ? "" : interval(row.improvement.cer),
  ]);
  const parts = [
    notes.map((note) => `note: ${note}\n`).join(""),
    `${dataset}: ${counted(samples, "sample")}\n`,
    renderTable(columns, rows, width),
    changeTable(`Read worse than by ${base}`, worse, width),
    changeTable(`Read better than by ${base}`, better, width),
    `Best: ${best.models.join(", ")}, CER ${formatPercent(100 * best.cer)}.\n`,
  ];
  return plainText(parts.filter((part) => part !== "").join("\n"));
}

function changeTable(title: string, changes: readonly OcrChange[], width?: number): string {
  if (changes.length === 0) return "";
  const rows = changes
    .slice(0, MOST)
    .map(({ sample, model, before, now, truth }) => [
      sample,
      model,
      `${formatShare(before.cer)} to ${formatShare(now.cer)}`,
      truth,
      now.text,
    ]);
  const more = changes.length > MOST ? `and ${changes.length - MOST} more\n` : "";
  const columns = [right("sample"), left("model"), right("CER"), left("truth"), left("read")];
  return `${title}: ${counted(changes.length, "sample")}\n${renderTable(columns, rows, width)}${more}`;
}
