import { writeFileSync } from "node:fs";
import { renderFigure } from "../src/eval/report/figure.ts";
import type { Gpu } from "../src/gpu/device.ts";
import type { Recorder } from "../src/gpu/recorder.ts";
import { GREEDY, passOf } from "./generate.ts";
import { judged, LENGTH_EXPONENT } from "./limits.ts";
import { fitPower, interleave, type RecordedSubject, type Subject, timedBy } from "./measure.ts";
import { forecastStep } from "./memory.ts";
import { loraOf, randomModel, stepOf, trainee } from "./models.ts";
import { type BenchRow, rowsOf } from "./rows.ts";
import { benchModel } from "./sizes.ts";

/** A shallow model of Qwen2.5-0.5B's shapes with a small vocabulary: what grows with x is soon seen. */
const [LAYERS, VOCAB, RANK, LENGTH] = [2, 4096, 8, 256];

export const AXES = ["length", "batch", "rank", "layers", "generations"] as const;
export type Axis = (typeof AXES)[number];

/** The exponent's limit is for lengths up to this. */
const LIMIT_TOKENS = 4096;

/** Values of an axis, doubling. @param most tokens of the longest sequence */
export function valuesOf(axis: Axis, most: number): number[] {
  const ends: Record<Axis, [number, number]> = {
    length: [LENGTH, most],
    batch: [1, 16],
    rank: [8, 128],
    layers: [1, 8],
    generations: [1, 64],
  };
  const [first, last] = ends[axis];
  const values: number[] = [];
  for (let value = first; value <= last; value *= 2) values.push(value);
  return values;
}

/** What is left of a recording without its attention kernels. Their outputs then hold whatever their buffers held. */
export function withoutAttention(record: Recorder): Recorder {
  const dispatch = record.dispatch.bind(record);
  record.dispatch = (shader, ...rest) => {
    if (!shader.name.startsWith("attention")) dispatch(shader, ...rest);
  };
  return record;
}

interface Point {
  x: number;
  whole: Subject;
  /** the same without attention; null where nothing is trained */
  rest: RecordedSubject | null;
  bytes: number | null;
}

function pointsOf(gpu: Gpu, axis: Axis, most: number): (() => Point)[] {
  const config = (layers = LAYERS) => benchModel(layers, VOCAB);
  const train = (x: number, of: ReturnType<typeof trainee>, sequences: number, length: number): Point => {
    const whole = stepOf(of, sequences, length);
    const { run } = stepOf(of, sequences, length);
    const rest = { ...whole, what: "all but attention", flops: null, run: (r: Recorder) => run(withoutAttention(r)) };
    return {
      x,
      whole,
      rest,
      bytes: forecastStep(gpu, of.model.config.num_hidden_layers, VOCAB, of.r, sequences, length),
    };
  };
  const values = valuesOf(axis, most);
  if (axis === "rank") return values.map((x) => () => train(x, trainee(gpu, config(), x), 1, LENGTH));
  if (axis === "layers") return values.map((x) => () => train(x, trainee(gpu, config(x), RANK), 1, LENGTH));
  if (axis === "generations") {
    const model = randomModel(gpu, config(), loraOf(RANK));
    const whole = (batch: number) => passOf(model, "decoding pass", { batch, sampling: GREEDY });
    return values.map((x) => () => ({ x, whole: whole(x), rest: null, bytes: null }));
  }
  const shared = trainee(gpu, config(), RANK);
  return values.map((x) => () => (axis === "length" ? train(x, shared, 1, x) : train(x, shared, x, LENGTH)));
}

export interface ScaleOptions {
  rounds: number;
  /** tokens of the longest sequence */
  most: number;
  /** for all axes; points whose rounds would pass it are left out */
  seconds: number;
  axes?: readonly Axis[];
  /** only what is left of a step without attention: half the time, where only its exponent is asked for */
  restOnly?: boolean;
}

/**
 * Time and memory of a step over sequence length, batch, rank and layers, and of a decoding pass over the sequences
 * decoded together; with the exponent a of time ∝ xᵃ, of all but attention and of the whole.
 *
 * @param report told of the points that the budget left out
 */
export async function benchScale(
  gpu: Gpu,
  { rounds, most, seconds, axes = AXES, restOnly = false }: ScaleOptions,
  report: (line: string) => void,
): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  for (const axis of axes) {
    const share = axes.length > 1 && axis === "length" ? 0.5 : 0.5 / (axes.length - 1);
    const budget = 1000 * seconds * (axes.length > 1 ? share : 1);
    rows.push(...(await scaleBy(gpu, axis, { rounds, most, restOnly }, budget, report)));
    await gpu.clear();
  }
  return rows;
}

async function scaleBy(
  gpu: Gpu,
  axis: Axis,
  { rounds, most, restOnly }: Pick<ScaleOptions, "rounds" | "most" | "restOnly">,
  budgetMs: number,
  report: (line: string) => void,
): Promise<BenchRow[]> {
  const points: Point[] = [];
  const began = performance.now();
  const partsOf = ({ whole, rest }: Point): Subject[] => (rest ? (restOnly ? [rest] : [whole, rest]) : [whole]);
  let each = 0; // milliseconds of one round of all points so far
  let last = 0;
  for (const make of pointsOf(gpu, axis, most)) {
    const next = 2.5 * last; // a double step, and what of it grows faster
    const expected = performance.now() - began + next + (rounds + 1) * (each + next);
    if (points.length > 1 && expected > budgetMs) {
      const x = valuesOf(axis, most)[points.length];
      report(`${axis} ${x} and more: left out, as their rounds would pass the budget of ${budgetMs / 1000} s`);
      break;
    }
    const point = make();
    last = 0;
    for (const { run } of partsOf(point)) {
      const once = timedBy(gpu, run);
      if (points.length === 0) await once(1); // compiles nearly everything
      last += (await once(1)).ms;
    }
    each += last;
    points.push(point);
  }
  const complete = points.length === valuesOf(axis, most).length;
  const subjects = points.flatMap(partsOf);
  const rows = rowsOf(gpu, subjects, await interleave(gpu, subjects, rounds, 50));
  const named = `scale by ${axis}:`;
  const x = points.flatMap((point) => partsOf(point).map(() => point.x));
  const shape = (at: number) => (["rank", "generations"].includes(axis) ? `${axis} ${x[at]}` : rows[at].shape);
  const shapes = rows.map((_, i) => shape(i));
  rows.forEach((row, i) => {
    const point = points.find((p) => p.x === x[i])!;
    if (point.bytes !== null && row.what === point.whole.what) row.forecast_bytes = point.bytes;
    row.shape = shapes[i];
  });
  const parts = [...new Set(rows.map(({ what }) => what))];
  const fits = parts.map((part) => {
    const of = rows.flatMap((row, i) => (row.what === part ? [{ row, x: x[i] }] : []));
    const exponent = (unit: "median_ms" | "cpu_ms") =>
      fitPower(of.map(({ row, x }) => [x, row[unit]!] as const)).exponent;
    const base = { ...of.at(-1)!.row, gflops: null, forecast_bytes: undefined, tokens_per_s: undefined };
    const about = { what: `${named} exponent of ${part}`, shape: `${axis} ${of[0].x} to ${of.at(-1)!.x}` };
    const ratio = { ms: exponent("median_ms"), cpu: exponent("cpu_ms") };
    // the limit is for the whole range
    if (axis === "length" && part === "all but attention" && complete && most >= LIMIT_TOKENS)
      return judged(base, about, ratio, LENGTH_EXPONENT, "a of time ∝ lengthᵃ");
    return { ...base, ...about, ratio: ratio.ms, cpu_ratio: ratio.cpu, against: `a of time ∝ ${axis}ᵃ` };
  });
  for (const row of rows) row.what = `${named} ${row.what}`;
  return [...rows, ...fits];
}

/** Time a token, and memory, over the length of the sequence, as two SVGs. */
export function lengthFigures(rows: readonly BenchRow[]): { time: string; memory: string } {
  const points = rows.filter(({ what, shape }) => what.startsWith("scale by length:") && /\d tokens$/.test(shape));
  const tokens = ({ shape }: BenchRow) => Number(/(\d+) tokens$/.exec(shape)![1]);
  const logs = points.map((row) => ({
    step: tokens(row),
    [row.what.replace("scale by length: ", "")]: row.median_ms / tokens(row),
    ...(row.forecast_bytes === undefined ? {} : { memory: row.forecast_bytes / 1e6 }),
  }));
  const figure = (title: string, names: Record<string, string>) =>
    // a figure's x axis is named for training
    renderFigure({ title, logs, names }).replace(/>step</, ">tokens<");
  return {
    time: figure("Milliseconds a token of one sequence", {
      "SFT step": "whole step",
      "all but attention": "all but attention",
    }),
    memory: figure("GPU memory at the peak, MB", { memory: "MB" }),
  };
}

export function saveFigures(folder: URL, rows: readonly BenchRow[]): void {
  const { time, memory } = lengthFigures(rows);
  writeFileSync(new URL("scale-time.svg", folder), time);
  writeFileSync(new URL("scale-memory.svg", folder), memory);
}
