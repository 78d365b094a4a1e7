import type { Gpu } from "../src/gpu/device.ts";
import type { Recorder } from "../src/gpu/recorder.ts";

/**
 * Time of one run: wall-clock time, and CPU time of all threads of this process. On a CPU adapter, a busy machine disturbs CPU
 * time less.
 */
export interface Time {
  /** milliseconds */
  ms: number;
  /** milliseconds of CPU time */
  cpu: number;
}

/** Runs something a number of times, waits until it is done, and returns the time of one run. */
export type Timed = (times: number) => Promise<Time>;

/** A timed subject. */
export interface Subject {
  what: string;
  shape: string;
  dtype: string;
  /** floating-point operations of one run; null if not meaningful */
  flops: number | null;
  /** tokens that one run generates or trains on, if tokens/s is the usual unit */
  tokens?: number;
  /** records one run, or times its runs itself */
  run: ((record: Recorder) => void) | { timed: Timed };
  /** `what` of the reference subject */
  against?: string;
  /** marks a matmul; the best matmul of a run is the reference for others' shares of GFLOP/s */
  yardstick?: boolean;
}

/** A subject whose runs are recorded. */
export interface RecordedSubject extends Subject {
  run(record: Recorder): void;
}

export function now(): Time {
  const { user, system } = process.cpuUsage();
  return { ms: performance.now(), cpu: (user + system) / 1000 };
}

/** Time from `start` until now, divided by `times`. */
export function since(start: Time, times = 1): Time {
  const end = now();
  return { ms: (end.ms - start.ms) / times, cpu: (end.cpu - start.cpu) / times };
}

/** Times runs of a subject. Recorded runs share one submission. */
export function timedBy(gpu: Gpu, run: Subject["run"]): Timed {
  if (typeof run !== "function") return run.timed;
  return async (times) => {
    const record = gpu.recorder();
    const start = now();
    for (let i = 0; i < times; i++) record.scope(() => run(record));
    record.submit();
    await gpu.settle();
    return since(start, times);
  };
}

/**
 * Times subjects in turn, round after round, so that other load on the machine affects all of them equally.
 *
 * @param worthMs runs shorter than this are repeated within a submission, up to the length of the longest subject, so that
 *   other load affects short and long subjects equally
 * @returns time of one run, [subject][round], without the first run of each, which compiles
 */
export async function interleave(
  gpu: Gpu,
  subjects: readonly Pick<Subject, "run">[],
  rounds = 5,
  worthMs = 20,
): Promise<Time[][]> {
  const timed = subjects.map(({ run }) => timedBy(gpu, run));
  const repeats: number[] = [];
  for (const once of timed) {
    const first = (await once(1)).ms;
    const again = first > 10 * worthMs ? first : (await once(1)).ms; // a long subject may skip the second warm-up run
    repeats.push(Math.max(1, Math.min(200, Math.ceil(worthMs / again))));
  }
  gpu.profiler?.reset();
  const times = subjects.map((): Time[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [i, once] of timed.entries()) times[i].push(await once(repeats[i]));
  }
  return times;
}

/** Median of an odd or even count. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** (slowest − fastest) / median. */
export function spread(values: readonly number[]): number {
  return (Math.max(...values) - Math.min(...values)) / median(values);
}

/** Median of the ratios in each round. A disturbance of a whole round does not change its ratio. */
export function ratioOf(
  over: readonly Time[],
  under: readonly Time[],
  unit: keyof Time = "ms",
  scale: number = 1,
): number {
  return median(over.map((time, round) => (scale * time[unit]) / under[round][unit]));
}

/**
 * Fits y = c·xᵃ by least squares on the logarithms.
 *
 * @returns the exponent, and the largest distance of a point from the line, as a share of y
 * @throws {RangeError} fewer than two different x, or numbers without a logarithm
 */
export function fitPower(points: readonly (readonly [x: number, y: number])[]): { exponent: number; worst: number } {
  const logs = points.map(([x, y]) => [Math.log(x), Math.log(y)]);
  if (new Set(points.map(([x]) => x)).size < 2 || logs.flat().some((v) => !Number.isFinite(v)))
    throw new RangeError(
      `Cannot fit a power to ${JSON.stringify(points)}: it needs at least two different x, and only numbers above 0`,
    );
  const mean = (i: 0 | 1) => logs.reduce((sum, log) => sum + log[i], 0) / logs.length;
  const [mx, my] = [mean(0), mean(1)];
  let [xy, xx] = [0, 0];
  for (const [x, y] of logs) {
    xy += (x - mx) * (y - my);
    xx += (x - mx) ** 2;
  }
  const exponent = xy / xx;
  const off = logs.map(([x, y]) => Math.abs(Math.expm1(y - my - exponent * (x - mx))));
  return { exponent, worst: Math.max(...off) };
}
