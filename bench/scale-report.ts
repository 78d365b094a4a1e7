import { readFileSync, writeFileSync } from "node:fs";
import { renderFigure } from "../src/report/figure.ts";
import { markdownTable } from "../src/text/tables.ts";
import { type BenchRow, commit } from "./rows.ts";
import { AXES, type Axis, fitsOf, REST, type ScalePoint } from "./scale.ts";

const HEADINGS: Record<Axis, string> = {
  batch: "Sequences of 256 tokens in a step",
  rank: "Rank of LoRA",
  layers: "Layers",
  generations: "Sequences decoded together",
  length: "Tokens of one sequence",
  narrow: "Tokens of one sequence, on a narrow model (hidden size 256, 4 heads, intermediate size 512)",
};

const NAMES: Partial<Record<Axis, string>> = { narrow: "length" };

const seconds = (row: BenchRow | undefined) => (row ? (row.median_ms / 1000).toPrecision(3) : "");
const part = (point: ScalePoint, name?: string) =>
  point.rows.find(({ what }) => (what.replace(/^.*?: /, "") === REST) === (name === REST));

/** All values as tables in Markdown, with the fitted exponents. */
export function scaleMarkdown(points: readonly ScalePoint[], adapter: string, most: number): string {
  const lines = [
    "# Time and memory by size",
    "",
    `\`npm run bench -- scale\` at ${commit()}, ${adapter}. Steps of LoRA SFT (r 8, 2 layers, 256 tokens, unless the table says`,
    "otherwise) on a model of Qwen2.5-0.5B's shapes with a vocabulary of 4096, bf16; medians of the rounds. Memory is",
    "`qwench`'s forecast for the step. Missing values needed more time or memory than was available.",
    "",
    "![milliseconds per token, and memory, over the length of a sequence](scale.svg)",
  ];
  for (const axis of AXES) {
    const of = points.filter((point) => point.axis === axis);
    if (of.length === 0) continue;
    const decoding = axis === "generations";
    lines.push("", `## ${HEADINGS[axis]}`, "");
    const headings = decoding
      ? ["sequences", "s a pass", "tokens/s", "rounds"]
      : [NAMES[axis] ?? axis, "s a step", "s without attention", "tokens/s", "MB", "rounds"];
    const rows = of.map((point) => {
      const whole = part(point);
      const rate = whole?.tokens_per_s?.toFixed(whole.tokens_per_s < 100 ? 1 : 0) ?? "";
      const rounds = whole ? (whole.rounds ?? "") : "left out";
      const memory = point.bytes === null ? "—" : (point.bytes / 1e6).toFixed(0);
      return decoding
        ? [point.x, seconds(whole), rate, rounds]
        : [point.x, seconds(whole), seconds(part(point, REST)), rate, memory, rounds];
    });
    lines.push(
      markdownTable(
        headings.map((heading) => ({ heading, align: "right" })),
        rows,
      ),
    );
    const fits = fitsOf(axis, most, points).map(({ what, shape, ratio, cpu_ratio }) => {
      const name = what.replace(/^.*exponent of /, "");
      const asked = shape.replace(/^\S+ /, "");
      return `${name} ∝ ${NAMES[axis] ?? axis}^${ratio!.toFixed(2)} (by CPU time ${cpu_ratio!.toFixed(2)}), ${asked}`;
    });
    if (fits.length > 0) lines.push("", `${fits.join("; ")}.`);
  }
  return `${lines.join("\n")}\n`;
}

/** Time per token, and memory, over the length of the sequence, as one self-contained SVG. */
export function scaleFigure(points: readonly ScalePoint[]): string {
  const logsOf = (axis: Axis) =>
    points
      .filter((point) => point.axis === axis)
      .map((point) => {
        const [whole, rest] = [part(point), part(point, REST)].map((row) => row && row.median_ms / point.x);
        return {
          step: point.x,
          ...(whole !== undefined && { whole }),
          ...(rest !== undefined && { rest }),
          ...(point.bytes !== null && { [axis]: point.bytes / 1e6 }),
        };
      });
  const time = (axis: Axis, title: string) => {
    const exponent = (name: string) => {
      const fit = fitsOf(axis, 0, points).find(({ what }) => what.endsWith(`exponent of ${name}`));
      return fit ? ` a=${fit.ratio!.toFixed(2)}` : "";
    };
    const names = { whole: `all${exponent("SFT step")}`, rest: `no attention${exponent(REST)}` };
    return renderFigure({ title: `${title}, ms per token`, logs: logsOf(axis), names, xLabel: "tokens" });
  };
  const memory = renderFigure({
    title: "Memory, MB",
    logs: [...logsOf("length"), ...logsOf("narrow")],
    names: { length: "0.5B's shapes", narrow: "narrow" },
    xLabel: "tokens",
  });
  const figures = [time("length", "0.5B's shapes"), time("narrow", "Narrow"), memory];
  const [width, each] = [520, 254];
  const placed = figures.map((figure, i) => figure.replace("<svg ", `<svg y="${i * each}" `));
  const size = `width="${width}" height="${3 * each}" viewBox="0 0 ${width} ${3 * each}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size}>${placed.join("")}</svg>\n`;
}

/** Writes scale.md and scale.svg. */
export function saveScale(folder: URL, points: readonly ScalePoint[], adapter: string, most: number): void {
  writeFileSync(new URL("scale.md", folder), scaleMarkdown(points, adapter, most));
  writeFileSync(new URL("scale.svg", folder), scaleFigure(points));
}

/** Rows of an earlier run of this commit on this adapter. */
export function knownRows(path: string, adapter: string): BenchRow[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return []; // no measurements yet
  }
  const rows = text.split("\n").filter(Boolean).map((line) => JSON.parse(line) as BenchRow); // biome-ignore format: a line
  return rows.filter((row) => row.commit === commit() && row.adapter === adapter && row.x !== undefined);
}
