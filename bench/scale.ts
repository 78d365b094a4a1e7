import { freemem } from "node:os";
import { MemoryError } from "../src/errors.ts";
import type { Gpu } from "../src/gpu/device.ts";
import type { FakeLimits } from "../src/gpu/fake-device.ts";
import type { Recorder } from "../src/gpu/recorder.ts";
import type { ModelConfig } from "../src/model/config.ts";
import { formatBytes } from "../src/text/bytes.ts";
import { GREEDY, passOf } from "./generate.ts";
import { judged, LENGTH_EXPONENT } from "./limits.ts";
import { fitPower, interleave, type RecordedSubject, type Subject, type Time, timedBy } from "./measure.ts";
import { forecastStep } from "./memory.ts";
import { loraOf, randomModel, stepOf, trainee } from "./models.ts";
import { type BenchRow, rowsOf } from "./rows.ts";
import { benchModel } from "./sizes.ts";

/** A shallow model of Qwen2.5-0.5B's shapes with a small vocabulary, so that growth with x shows early. */
const [LAYERS, VOCAB, RANK, LENGTH] = [2, 4096, 8, 256];
const NARROW = { hidden_size: 256, intermediate_size: 512, num_attention_heads: 4, num_key_value_heads: 2 };

/**
 * `narrow` repeats length on a model whose longest sequence fits a binding of 128 MiB and takes a CPU minutes. Lengths come
 * last, because they use the remaining time.
 */
export const AXES = ["batch", "rank", "layers", "generations", "length", "narrow"] as const;
export type Axis = (typeof AXES)[number];

/** Parts of the remaining time for each axis. */
const SHARES: Record<Axis, number> = { batch: 2, rank: 1, layers: 1, generations: 1, length: 5, narrow: 8 };

/** Largest length to which the exponent's limit applies. */
const LIMIT_TOKENS = 4096;
/** Runs of at least this length skip the second warm-up, because hardly anything is left to compile. */
const LONG_MS = 10_000;

export const REST = "all but attention";

/** Values of an axis, doubling. @param most tokens of the longest sequence */
export function valuesOf(axis: Axis, most: number): number[] {
  const ends: Record<Axis, [number, number]> = {
    length: [LENGTH, most],
    narrow: [LENGTH, most],
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

/** A recording without its attention kernels. Their output buffers then keep old values. */
export function withoutAttention(record: Recorder): Recorder {
  const dispatch = record.dispatch.bind(record);
  record.dispatch = (shader, ...rest) => {
    if (!shader.name.startsWith("attention")) dispatch(shader, ...rest);
  };
  return record;
}

/** One value of an axis: its measurements, or why it was skipped. */
export interface ScalePoint {
  axis: Axis;
  x: number;
  /** forecast GPU memory of its step; null if nothing is trained */
  bytes: number | null;
  /** by part */
  rows: BenchRow[];
  /** why it was skipped */
  left: string | null;
}

type Part = Subject & { x: number };

/** Creates the subjects of an axis, value by value: the whole, and for training also everything but attention. */
function partsOf(gpu: Gpu, axis: Axis): (x: number) => Part[] {
  const train = (x: number, of: ReturnType<typeof trainee>, sequences: number, length: number): Part[] => {
    const whole = stepOf(of, sequences, length);
    const { run } = stepOf(of, sequences, length);
    const rest: RecordedSubject = { ...whole, what: REST, flops: null, run: (r) => run(withoutAttention(r)) };
    const shape = axis === "rank" ? `rank ${x}` : axis === "narrow" ? `${whole.shape}, hidden size 256` : whole.shape;
    return [whole, rest].map((part) => ({ ...part, x, shape }));
  };
  if (axis === "rank") return (x) => train(x, trainee(gpu, configOf(axis, x), x), 1, LENGTH);
  if (axis === "layers") return (x) => train(x, trainee(gpu, configOf(axis, x), RANK), 1, LENGTH);
  if (axis === "generations") {
    const config = configOf(axis, 1);
    const model = randomModel(gpu, config, loraOf(config, RANK));
    return (x) => [{ ...passOf(model, "decoding pass", { batch: x, sampling: GREEDY }), x, shape: `generations ${x}` }];
  }
  const shared = trainee(gpu, configOf(axis, 1), RANK);
  return (x) => (axis === "batch" ? train(x, shared, x, LENGTH) : train(x, shared, 1, x));
}

function configOf(axis: Axis, x: number): ModelConfig {
  const config = benchModel(axis === "layers" ? x : LAYERS, VOCAB);
  return axis === "narrow" ? { ...config, ...NARROW } : config;
}

/** Limits of a device without size limits. */
const BOUNDLESS = { maxBufferSize: 2 ** 50, maxStorageBufferBindingSize: 2 ** 50 };

/** Memory of a value's step, or null without training; and why this device cannot run it. */
function forecast(gpu: Gpu, axis: Axis, x: number): Pick<ScalePoint, "bytes" | "left"> {
  if (axis === "generations") return { bytes: null, left: null };
  const at = { rank: RANK, batch: 1, length: LENGTH, [axis === "narrow" ? "length" : axis]: x };
  const bytesOn = (limits: FakeLimits) =>
    forecastStep(
      { limits, features: gpu.features, profile: gpu.profile },
      configOf(axis, x),
      at.rank,
      at.batch,
      at.length,
    );
  try {
    return { bytes: bytesOn(gpu.limits), left: null };
  } catch (error) {
    if (!(error instanceof MemoryError)) throw error;
    const [reason] = error.message.split(". ");
    return { bytes: bytesOn(BOUNDLESS), left: `as this device cannot run it. ${reason}` };
  }
}

interface ScaleOptions {
  rounds: number;
  /** tokens of the longest sequence */
  most: number;
  /** for all axes; values whose step exceeds the remaining time are skipped, but their memory is still forecast */
  seconds: number;
  axes?: readonly Axis[];
  /** rows of an earlier run, which are reused */
  known?: readonly BenchRow[];
}

/** Receives the results so far: the new rows, and all values. */
export type ScaleEmit = (rows: readonly BenchRow[], points: readonly ScalePoint[]) => void;

/**
 * Time and memory of a step over batch, rank, layers and sequence length, and of a decoding pass over the number of sequences
 * decoded together. Fits the exponent a of time ∝ xᵃ for the whole and for everything but attention.
 *
 * @param emit receives each value after its measurement, so that an interrupted run loses nothing
 * @param report receives the skipped values, with the reasons
 */
export async function benchScale(
  gpu: Gpu,
  { rounds, most, seconds, axes = AXES, known = [] }: ScaleOptions,
  emit: ScaleEmit,
  report: (line: string) => void,
): Promise<void> {
  const end = performance.now() + 1000 * seconds;
  const points: ScalePoint[] = [];
  for (const [i, axis] of axes.entries()) {
    const shares = axes.slice(i).reduce((sum, name) => sum + SHARES[name], 0);
    const budgetMs = ((end - performance.now()) * SHARES[axis]) / shares;
    for await (const point of scaleBy(gpu, axis, { rounds, most, known }, budgetMs)) {
      points.push(point);
      if (point.left) report(`${axis} ${point.x}: skipped, ${point.left}`);
      emit(point.left ? [] : point.rows.filter((row) => !known.includes(row)), points);
    }
    emit(fitsOf(axis, most, points), points);
    await gpu.clear();
  }
}

async function* scaleBy(
  gpu: Gpu,
  axis: Axis,
  { rounds, most, known }: Required<Pick<ScaleOptions, "rounds" | "most" | "known">>,
  budgetMs: number,
): AsyncGenerator<ScalePoint> {
  const began = performance.now();
  const took: number[] = []; // milliseconds per round of each value so far
  let skipped = 0;
  let make: ReturnType<typeof partsOf> | null = null;
  for (const x of valuesOf(axis, most)) {
    const point: ScalePoint = { axis, x, rows: [], ...forecast(gpu, axis, x) };
    const shapes = (rows: readonly BenchRow[]) => rows.filter(({ what }) => what.startsWith(`scale by ${axis}: `));
    point.rows = shapes(known).filter((row) => row.x === x && !row.what.includes("exponent"));
    if (point.rows.length > 0) {
      took.push(point.rows.reduce((sum, row) => sum + row.median_ms, 0));
      yield point;
      continue;
    }
    const left = budgetMs - (performance.now() - began);
    const expected = expectedMs(took, 1 + skipped);
    const free = gpu.profile.kind === "cpu" ? freemem() : Number.POSITIVE_INFINITY;
    if (expected > left && took.length > 1)
      point.left ??= `as a step would take about ${(expected / 1000).toFixed(0)} s, and ${Math.max(0, left / 1000).toFixed(0)} s are left`;
    if (point.bytes !== null && point.bytes > free)
      point.left ??= `as it needs ${formatBytes(point.bytes)} and ${formatBytes(free)} are free`;
    if (point.left) {
      skipped++;
      yield point;
      continue;
    }
    make ??= partsOf(gpu, axis);
    const parts = make(x);
    const times = await timesOf(gpu, parts, rounds, { expected, left });
    took.push(times.reduce((sum, rounds) => sum + Math.min(...rounds.map(({ ms }) => ms)), 0));
    point.rows = rowsOf(gpu, parts, times).map((row, i) => ({
      ...row,
      what: `scale by ${axis}: ${row.what}`,
      x,
      ...(times[i].length < rounds && { rounds: times[i].length }),
      ...(i === 0 && point.bytes !== null && { forecast_bytes: point.bytes }),
    }));
    gpu.endStep();
    yield point;
  }
}

/** Estimated milliseconds per round a number of values ahead: each at least doubles, and grows like the last. */
export function expectedMs(took: readonly number[], ahead = 1): number {
  const [before, last] = took.slice(-2);
  if (took.length < 2) return took.length === 0 ? 0 : before * 2.5 ** ahead;
  return last * Math.min(4.2, Math.max(2, (1.2 * last) / before)) ** ahead;
}

/** Rounds of a value, fewer if all of them need more than half of the remaining time. */
async function timesOf(
  gpu: Gpu,
  parts: readonly Subject[],
  rounds: number,
  { expected, left }: { expected: number; left: number },
): Promise<Time[][]> {
  if (expected < LONG_MS && expected * (rounds + 2) < left / 2) return interleave(gpu, parts, rounds, 50);
  const timed = parts.map(({ run }) => timedBy(gpu, run));
  if (expected < LONG_MS) for (const once of timed) await once(1); // compiles
  const fit = Math.max(1, Math.min(rounds, Math.floor(left / 2 / expected)));
  const times = parts.map((): Time[] => []);
  for (let round = 0; round < fit; round++) for (const [i, once] of timed.entries()) times[i].push(await once(1));
  return times;
}

/** Exponents of each part of an axis, over the measured values. */
export function fitsOf(axis: Axis, most: number, points: readonly ScalePoint[]): BenchRow[] {
  const of = points.filter((point) => point.axis === axis && point.rows.length > 0);
  if (of.length < 2) return [];
  const parts = of[0].rows.map(({ what }) => what.replace(/^.*?: /, ""));
  return parts.map((part, i) => exponentOf(axis, part, most, of.map(({ rows, x }) => ({ row: rows[i], x })))); // biome-ignore format: a line
}

function exponentOf(axis: Axis, part: string, most: number, of: readonly { row: BenchRow; x: number }[]): BenchRow {
  const exponent = (unit: "median_ms" | "cpu_ms") =>
    fitPower(of.map(({ row, x }) => [x, row[unit]!] as const)).exponent;
  const [first, last] = [of[0], of[of.length - 1]];
  const { forecast_bytes: _, tokens_per_s: __, rounds: ___, x: ____, ...base } = last.row;
  const shape = `${axis === "narrow" ? "length" : axis} ${first.x} to ${last.x}`;
  const about = { what: `scale by ${axis}: exponent of ${part}`, shape };
  const ratio = { ms: exponent("median_ms"), cpu: exponent("cpu_ms") };
  const row = { ...base, gflops: null, share: undefined, cpu_share: undefined };
  const against = `a of time ∝ ${axis === "narrow" ? "length" : axis}ᵃ`;
  // the limit applies to exactly this range
  if (axis === "length" && part === REST && last.x === LIMIT_TOKENS && most >= LIMIT_TOKENS)
    return judged(row, about, ratio, LENGTH_EXPONENT, against);
  return { ...row, ...about, ratio: ratio.ms, cpu_ratio: ratio.cpu, against };
}

/**
 * The exponent with a limit: everything but attention, every length in every round. Judged only if the device fits all lengths.
 *
 * @param report receives the lengths that do not fit
 */
export async function lengthExponent(gpu: Gpu, rounds: number, report: (line: string) => void): Promise<BenchRow> {
  const held = valuesOf("length", LIMIT_TOKENS).filter((x) => {
    const { left } = forecast(gpu, "length", x);
    if (left) report(`length ${x}: skipped, ${left}`);
    return !left;
  });
  const make = partsOf(gpu, "length");
  const parts = held.map((x) => make(x).find(({ what }) => what === REST)!);
  const rows = rowsOf(gpu, parts, await interleave(gpu, parts, rounds, 50));
  return exponentOf("length", REST, LIMIT_TOKENS, rows.map((row, i) => ({ row, x: parts[i].x }))); // biome-ignore format: a line
}
