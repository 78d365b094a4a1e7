import type { PathCommand } from "opentype.js";
import type { NamedFont } from "./fonts.ts";
import { coverage, polygonsOf } from "./raster.ts";

/** How a line of text is drawn. */
export interface LineStyle {
  /** pixels of the letters' em: from, to */
  size: readonly [from: number, to: number];
  /** most degrees that the line is turned by, either way */
  rotation: number;
  /** standard deviation of the noise, as a share of white */
  noise: number;
  /** width and height of every image; null: as large as the line, with a margin */
  canvas: readonly [width: number, height: number] | null;
}

/** An image of a line: `[height, width, 3]`, one byte each. */
interface RenderedLine {
  width: number;
  height: number;
  pixels: Uint8Array;
}

/**
 * Draws a line of text in dark ink on light paper.
 *
 * @param random uniform in [0, 1): decides size, place, angle, colours and noise
 * @throws {Error} a character that the font lacks, or a canvas that is too small
 */
export function renderLine(
  text: string,
  { name, font }: NamedFont,
  { size, rotation, noise, canvas }: LineStyle,
  random: () => number,
): RenderedLine {
  const missing = [...text].find((character) => font.charToGlyphIndex(character) === 0);
  if (missing !== undefined) throw new Error(`Cannot draw ${JSON.stringify(text)}: ${name} has no ${missing}`);
  const between = (from: number, to: number) => from + (to - from) * random();
  const em = between(...size);
  const angle = (between(-rotation, rotation) * Math.PI) / 180;
  const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
  const line: PathCommand[] = [];
  let x = 0;
  // letter by letter: opentype.js fails on the ligature tables of some fonts
  for (const character of text) {
    const glyph = font.charToGlyph(character);
    line.push(...glyph.getPath(x, 0, em).commands);
    x += (em * glyph.advanceWidth) / font.unitsPerEm;
  }
  const turned = polygonsOf(line, ([x, y]) => [cosine * x - sine * y, sine * x + cosine * y]);
  const points = turned.flat();
  const edges = (axis: 0 | 1) => {
    const values = points.map((point) => point[axis]);
    return values.length > 0 ? [Math.min(...values), Math.max(...values)] : [0, 0];
  };
  const [[left, right], [top, bottom]] = [edges(0), edges(1)];
  const margin = () => Math.round(em * between(0.2, 0.6));
  const free = canvas
    ? [canvas[0] - (right - left), canvas[1] - (bottom - top)]
    : [margin() + margin(), margin() + margin()];
  if (free[0] < 0 || free[1] < 0) {
    throw new Error(
      `Cannot draw ${JSON.stringify(text)} at ${em.toFixed(1)} pixels: it is ${Math.ceil(right - left)} × ${Math.ceil(bottom - top)}, and the canvas is ${canvas!.join(" × ")}; use a smaller size`,
    );
  }
  const width = canvas?.[0] ?? Math.ceil(right - left + free[0]);
  const height = canvas?.[1] ?? Math.ceil(bottom - top + free[1]);
  const [dx, dy] = [free[0] * between(0.1, 0.9) - left, free[1] * between(0.1, 0.9) - top];
  const inked = coverage(
    turned.map((polygon) => polygon.map(([x, y]) => [x + dx, y + dy] as const)),
    width,
    height,
  );
  const colour = (from: number, to: number) => Array.from({ length: 3 }, () => between(from, to));
  const [ink, paper] = [colour(0, 90), colour(190, 255)];
  const pixels = new Uint8Array(3 * width * height);
  inked.forEach((share, i) => {
    const grain = noise > 0 ? 255 * noise * normal(random) : 0;
    for (let c = 0; c < 3; c++) {
      pixels[3 * i + c] = Math.min(255, Math.max(0, Math.round(paper[c] + share * (ink[c] - paper[c]) + grain)));
    }
  });
  return { width, height, pixels };
}

/** A normal number. Box and Muller 1958. */
const normal = (random: () => number) => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
