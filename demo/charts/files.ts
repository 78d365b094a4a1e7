import { seriesCsv } from "../../src/report/csv.ts";
import { markSvg } from "../../src/report/marks.ts";
import type { Series } from "../../src/report/metrics.ts";
import type { Mark, Plot } from "../../src/report/plot.ts";
import { seriesClass } from "../../src/report/scale.ts";
import { escapeHtml } from "../../src/text/html.ts";
import type { ChartSpec } from "./curve.ts";

// A chart's numbers and its picture as files, in the page's present colours.

const PAD = 16;
const HEAD = 34;
/** Pixels of the picture per pixel of the page. */
const SHARP = 2;
const FONT = "system-ui, sans-serif";

/** A chart's numbers as CSV. */
export function csvFile(series: readonly Series[], x: string): Blob {
  return new Blob([seriesCsv(series, x)], { type: "text/csv" });
}

/** A chart as a self-contained SVG, with its title and key. @param host where it is shown */
export function svgFile({ title }: ChartSpec, series: readonly Series[], plot: Plot, host: Element): Blob {
  const { paper, ink, soft, rule, lines } = colours(host);
  const [width, height] = [plot.width + 2 * PAD, plot.height + PAD + HEAD];
  const keys = keysOf(series).map(
    ({ label, i }) => `<tspan dx="14" fill="${lines[i % 6]}">${escapeHtml(label)}</tspan>`,
  );
  const style =
    `text{font:11.5px ${FONT};fill:${soft}}.grid{stroke:${rule}}.axis{stroke:${soft};stroke-opacity:.6}` +
    `.line,.raw{fill:none;stroke-width:1.7;stroke-linejoin:round}.raw{stroke-opacity:.28}.dashed{stroke-dasharray:4 3}` +
    lines.map((colour, i) => `path.s${i}{stroke:${colour}}circle.s${i}{fill:${colour}}`).join("");
  const text =
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">` +
    `<style>${style}</style><rect width="100%" height="100%" fill="${paper}"/>` +
    `<text x="${PAD}" y="22"><tspan style="font-weight:600" fill="${ink}">${escapeHtml(title)}</tspan>${keys.join("")}</text>` +
    `<g transform="translate(${PAD} ${HEAD})">${plot.marks.map(markSvg).join("")}</g></svg>`;
  return new Blob([text], { type: "image/svg+xml" });
}

/** A chart as a PNG at twice the page's pixels. @param host where it is shown */
export async function pngFile(
  { title }: ChartSpec,
  series: readonly Series[],
  plot: Plot,
  host: Element,
): Promise<Blob> {
  const palette = colours(host);
  const canvas = document.createElement("canvas");
  canvas.width = SHARP * (plot.width + 2 * PAD);
  canvas.height = SHARP * (plot.height + PAD + HEAD);
  const to = canvas.getContext("2d")!;
  to.scale(SHARP, SHARP);
  to.fillStyle = palette.paper;
  to.fillRect(0, 0, canvas.width, canvas.height);
  let x = PAD;
  const write = (text: string, font: string, colour: string) => {
    to.font = font;
    to.fillStyle = colour;
    to.fillText(text, x, 22);
    x += to.measureText(text).width + 14;
  };
  write(title, `600 12px ${FONT}`, palette.ink);
  for (const { label, i } of keysOf(series)) write(label, `12px ${FONT}`, palette.lines[i % 6]);
  to.translate(PAD, HEAD);
  for (const mark of plot.marks) paint(to, mark, palette);
  return new Promise((done, fail) =>
    canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error("The browser could not make the picture")))),
  );
}

function paint(to: CanvasRenderingContext2D, mark: Mark, { soft, rule, lines }: ReturnType<typeof colours>): void {
  const colour = lines[Number(/\bs(\d)/.exec(mark.class)?.[1] ?? 0)];
  to.setLineDash(/\bdashed\b/.test(mark.class) ? [4, 3] : []);
  to.globalAlpha = /\braw\b/.test(mark.class) ? 0.28 : 1;
  switch (mark.kind) {
    case "line":
      to.strokeStyle = mark.class === "grid" ? rule : soft;
      to.lineWidth = 1;
      to.stroke(new Path2D(`M${mark.x1} ${mark.y1}L${mark.x2} ${mark.y2}`));
      break;
    case "path":
      to.strokeStyle = colour;
      to.lineWidth = 1.7;
      to.lineJoin = "round";
      to.stroke(new Path2D(mark.d));
      break;
    case "dot":
      to.fillStyle = colour;
      to.beginPath();
      to.arc(mark.x, mark.y, 2.2, 0, 2 * Math.PI);
      to.fill();
      break;
    case "text":
      to.font = `11.5px ${FONT}`;
      to.fillStyle = soft;
      to.textAlign = mark.anchor === "middle" ? "center" : mark.anchor;
      to.fillText(mark.text, mark.x, mark.y);
      to.textAlign = "start";
      break;
  }
  to.globalAlpha = 1;
}

/** Labels of several series, with their numbers. */
function keysOf(series: readonly Series[]): { label: string; i: number }[] {
  return series.length > 1 ? series.map(({ label }, i) => ({ label, i: Number(seriesClass(i)[1]) })) : [];
}

/** The page's present colours, as a canvas and a file need them. @param host an element with the page's style */
function colours(host: Element) {
  const probe = document.createElement("i");
  probe.hidden = true;
  host.append(probe);
  const of = (name: string) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const found = {
    ...{ paper: of("card"), ink: of("ink"), soft: of("soft"), rule: of("rule") },
    lines: Array.from({ length: 6 }, (_, i) => of(`s${i}`)),
  };
  probe.remove();
  return found;
}
