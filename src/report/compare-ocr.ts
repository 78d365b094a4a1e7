import type { OcrChange, OcrComparison, OcrModelRow } from "../eval/compare/ocr.ts";
import { escapeHtml } from "../text/html.ts";
import { counted, formatNumber, formatShare } from "../text/numbers.ts";
import { compareStyle } from "./compare-style.ts";
import { interval } from "./compare-text.ts";
import { headline, renderPage } from "./page.ts";

/** Most samples of a list, and most characters of a text to show. */
const MOST = 200;
const MOST_TEXT = 1000;

/** A comparison of OCR evaluations as one self-contained HTML file. Every text is escaped. */
export function renderOcrComparison(compared: OcrComparison): string {
  const { dataset, samples, base, models, best, worse, better, notes, resamples, seed } = compared;
  const told = notes.map((note) => `<li>${escapeHtml(note)}</li>`);
  const body = [
    told.length > 0 ? `<ul class="notes">${told.join("")}</ul>` : "",
    headline([
      ["samples", formatNumber(samples)],
      [
        "best by CER",
        `${best.models.length > 2 ? counted(best.models.length, "model") : best.models.join(", ")} · ${formatShare(best.cer, 1)}`,
      ],
      [`read worse than by ${base}`, formatNumber(worse.length)],
      [`read better than by ${base}`, formatNumber(better.length)],
    ]),
    modelSheet(models, base),
    changeSheet(`Read worse than by ${base}`, worse),
    changeSheet(`Read better than by ${base}`, better),
  ];
  return renderPage({
    title: `Reading ${dataset}: ${models.length <= 4 ? models.map(({ name }) => name).join(", ") : counted(models.length, "model")}`,
    subtitle: `Intervals hold 95 % of ${formatNumber(resamples)} bootstrap samples of the images, paired, seed ${seed}.`,
    body: `<section class="dataset">${body.join("\n")}</section>`,
    footer: "Written by qwench compare.",
    style: compareStyle,
  });
}

function table(label: string, heads: readonly string[], rows: readonly string[]): string {
  const cells = [label, ...heads].map((head) => `<th scope="col">${escapeHtml(head)}</th>`).join("");
  return (
    `<div class="sheet"><div class="scroll" tabindex="0" role="region" aria-label="${escapeHtml(label)}"><table>` +
    `<thead><tr>${cells}</tr></thead><tbody>${rows.join("")}</tbody></table></div></div>`
  );
}

function modelSheet(models: readonly OcrModelRow[], base: string): string {
  const heads = [
    "CER",
    "WER",
    "CER of all text",
    "WER of all text",
    "without an error",
    `CER below ${base}`,
    `WER below ${base}`,
  ];
  const rows = models.map((row) => {
    const shares = [row.avg_cer, row.avg_wer, row.cer, row.wer, row.exact].map((share) => formatShare(share, 1));
    const below = row.improvement ? [row.improvement.cer, row.improvement.wer].map(interval) : ["", ""];
    const cells = [...shares, ...below].map((cell) => `<td>${escapeHtml(cell)}</td>`);
    return `<tr><th scope="row">${escapeHtml(row.name)}</th>${cells.join("")}</tr>`;
  });
  return table("Model", heads, rows);
}

function changeSheet(title: string, changes: readonly OcrChange[]): string {
  if (changes.length === 0) return "";
  const words = (text: string) => `<td class="words">${escapeHtml(text.slice(0, MOST_TEXT))}</td>`;
  const rows = changes
    .slice(0, MOST)
    .map(
      ({ sample, model, truth, before, now }) =>
        `<tr><th scope="row">${sample}</th><td>${escapeHtml(model)}</td><td>${formatShare(before.cer, 1)}</td><td>${formatShare(now.cer, 1)}</td>` +
        `${words(truth)}${words(before.text)}${words(now.text)}</tr>`,
    );
  const more = changes.length > MOST ? `<p>and ${formatNumber(changes.length - MOST)} more</p>` : "";
  const heads = ["model", "CER before", "CER now", "truth", "read before", "read now"];
  return `<h3>${escapeHtml(title)}</h3>${table("Sample", heads, rows)}${more}`;
}
