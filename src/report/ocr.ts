import type { OcrRecord, OcrResults } from "../eval/ocr.ts";
import { escapeHtml } from "../text/html.ts";
import { formatShare } from "../text/numbers.ts";
import { headline, renderPage } from "./page.ts";

/** An image for a page: its type by its own bytes. */
export interface ReportImage {
  type: "png" | "jpeg" | "webp";
  bytes: Uint8Array;
}

/** Most bytes of the images in one report; samples beyond show their texts only. */
const MOST_BYTES = 32 << 20;
/** Most characters of a text to show. */
const MOST_TEXT = 4000;

const STYLE = `
.sample{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr) minmax(0,1fr);gap:16px;padding:12px 0;border-top:1px solid var(--rule)}
.sample img{max-width:100%;max-height:320px;border:1px solid var(--rule)}
.sample pre{margin:4px 0 0;white-space:pre-wrap;overflow-wrap:anywhere;max-height:320px;overflow:auto}
.sample h3{grid-column:1/-1;margin:0;font-size:inherit;font-weight:500}
.sample p{margin:0;color:var(--soft)}
@media(max-width:760px){.sample{grid-template-columns:1fr}}
`;

/**
 * An OCR evaluation as one self-contained HTML file: scores, and each image with its truth and what the model read, the worst
 * first. Every text is escaped; the page's policy allows no request.
 *
 * @param imagesOf the images of a sample
 */
export function renderOcr(
  results: OcrResults,
  records: readonly OcrRecord[],
  imagesOf: (sample: number) => readonly ReportImage[],
): string {
  const { dataset, model_type, model_name_or_path: base, adapter_name_or_path: adapter } = results;
  let left = MOST_BYTES;
  const samples = [...records]
    .sort((a, b) => b.cer - a.cer || a.sample - b.sample)
    .map((record) => {
      const images = imagesOf(record.sample).filter(({ bytes }) => {
        left -= bytes.length;
        return left >= 0;
      });
      return sampleOf(record, images);
    });
  const body = [
    headline([
      ["CER, mean", formatShare(results.avg_cer, 1)],
      ["WER, mean", formatShare(results.avg_wer, 1)],
      ["CER of all text", formatShare(results.cer, 1)],
      ["WER of all text", formatShare(results.wer, 1)],
      ["without an error", formatShare(results.exact, 1)],
    ]),
    `<section>${samples.join("\n")}</section>`,
  ].join("\n");
  return renderPage({
    title: `${model_type} reads ${dataset}`,
    subtitle: `${results.samples} samples · ${base}${adapter === null ? "" : ` with ${adapter}`}`,
    body,
    footer: `qwench ${results.qwench_version}`,
    style: STYLE,
    images: true,
  });
}

function sampleOf(record: OcrRecord, images: readonly ReportImage[]): string {
  const { sample, cer, wer, ground_truth, generated_text, finish_reason } = record;
  const shown = images.map(({ type, bytes }) => `<img alt="" src="data:image/${type};base64,${base64(bytes)}">`);
  const text = (name: string, value: string) =>
    `<div><p>${name}</p><pre>${escapeHtml(value.slice(0, MOST_TEXT))}</pre></div>`;
  const cut = finish_reason === "length" ? " · cut off at max_tokens" : "";
  return `<article class="sample"><h3>${sample} · CER ${formatShare(cer, 1)} · WER ${formatShare(wer, 1)}${cut}</h3>
<div>${shown.join("") || "<p>no image</p>"}</div>${text("truth", ground_truth)}${text("read", generated_text)}</article>`;
}

function base64(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}
