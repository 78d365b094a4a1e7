import { execFileSync } from "node:child_process";
import { appendFileSync } from "node:fs";
import { renderTable } from "../src/cli/table.ts";
import type { Gpu } from "../src/gpu/device.ts";
import type { Recorder } from "../src/gpu/recorder.ts";
import type { Tensor } from "../src/gpu/tensor.ts";
import { codeBytes, isQuantized, sizeOf } from "../src/gpu/tensor.ts";

/** One measured figure, a line of results.jsonl. */
export interface BenchRow {
  commit: string;
  /** ISO 8601, UTC */
  date: string;
  adapter: string;
  what: string;
  shape: string;
  dtype: string;
  median_ms: number;
  /** (slowest − fastest) / median: what the machine was doing beside */
  spread: number;
  gflops: number | null;
  /** where tokens are generated */
  tokens_per_s?: number;
  /** CPU time of the process, all threads: on a CPU adapter what a busy machine disturbs least */
  cpu_ms?: number;
  /** `ratio` by CPU time */
  cpu_ratio?: number | null;
  /** against what `against` says; null where the row stands alone */
  ratio: number | null;
  against: string | null;
}

/** What is timed: records one run of something. */
export interface Subject {
  what: string;
  shape: string;
  dtype: string;
  /** floating-point operations of one run; null where that says nothing */
  flops: number | null;
  run(record: Recorder): void;
  against?: string;
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

/**
 * Times subjects in turn, round after round, so that what else the machine does falls on all of them alike.
 *
 * @param worthMs shorter runs than this are repeated within a submission: up to the length of the longest subject, or a
 *   short one meets less of what else the machine does
 * @returns milliseconds of one run, [subject][round]; a first run of each, which compiles, is not among them
 */
export async function interleave(
  gpu: Gpu,
  subjects: readonly Pick<Subject, "run">[],
  rounds = 5,
  worthMs = 20,
): Promise<number[][]> {
  const once = async ({ run }: Pick<Subject, "run">, times: number) => {
    const record = gpu.recorder();
    const start = performance.now();
    for (let i = 0; i < times; i++) record.scope(() => run(record));
    record.submit();
    await gpu.settle();
    return (performance.now() - start) / times;
  };
  const repeats: number[] = [];
  for (const subject of subjects) {
    const first = await once(subject, 1);
    const again = first > 10 * worthMs ? first : await once(subject, 1); // a long one may skip a second run
    repeats.push(Math.max(1, Math.min(200, Math.ceil(worthMs / again))));
  }
  const times = subjects.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [i, subject] of subjects.entries()) times[i].push(await once(subject, repeats[i]));
  }
  return times;
}

/** Rows of subjects from their times. */
export function rowsOf(gpu: Gpu, subjects: readonly Subject[], times: readonly number[][]): BenchRow[] {
  const about = { commit: commit(), date: new Date().toISOString(), adapter: gpu.adapterName };
  return subjects.map(({ what, shape, dtype, flops, against }, i) => {
    const base = subjects.findIndex((s) => s.what === against);
    return {
      ...about,
      what,
      shape,
      dtype,
      median_ms: median(times[i]),
      spread: spread(times[i]),
      gflops: flops === null ? null : flops / median(times[i]) / 1e6,
      // of the rounds' own ratios: what slows a round slows both
      ratio: base < 0 ? null : median(times[i].map((ms, round) => ms / times[base][round])),
      against: base < 0 ? null : against!,
    };
  });
}

let known: string | null = null;

/** The commit that is checked out, with `+` where files differ from it. */
export function commit(): string {
  if (known !== null) return known;
  try {
    const git = (...args: string[]) => execFileSync("git", args, { encoding: "utf8", stdio: "pipe" }).trim();
    known = git("rev-parse", "--short", "HEAD") + (git("status", "--porcelain", "-uno") ? "+" : "");
  } catch {
    known = "unknown";
  }
  return known;
}

/** A table for people. */
export function tableOf(rows: readonly BenchRow[]): string {
  const number = (value: number | null, digits: number) => (value === null ? "" : value.toFixed(digits));
  const columns = ["what", "shape", "dtype"].map((heading) => ({ heading }));
  const numbers = ["ms", "± %", "GFLOP/s", "tokens/s", "ratio", "CPU ms", "by CPU"].map((heading) => ({
    heading,
    align: "right" as const,
  }));
  return renderTable(
    [...columns, ...numbers, { heading: "of" }],
    rows.map((r) => [
      r.what,
      r.shape,
      r.dtype,
      number(r.median_ms, r.median_ms < 10 ? 2 : 1),
      number(50 * r.spread, 0),
      number(r.gflops, 1),
      number(r.tokens_per_s ?? null, 1),
      number(r.ratio, 3),
      number(r.cpu_ms ?? null, 1),
      number(r.cpu_ratio ?? null, 3),
      r.against ?? "",
    ]),
  );
}

/** Appends rows to a file, a line each. */
export function save(path: string, rows: readonly BenchRow[]): void {
  appendFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}

/** A block of random bf16 numbers in (−1, 1), the same every time, that long tensors are filled with over and over. */
const BLOCK = (() => {
  const words = new Uint16Array(1 << 20);
  let state = 1;
  for (let i = 0; i < words.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[i] = 0x3c00 + ((state >>> 16) % 0x380) + (state & 0x8000); // exponents 2⁻⁷ … 2⁻¹
  }
  return words;
})();

/**
 * Fills an f32 or bf16 tensor with random numbers in (−scale, scale), without a copy of it in memory.
 *
 * @param scale of bf16: a power of two, 2⁻⁶⁴ to 1
 */
export function fillRandom(gpu: Gpu, tensor: Tensor, scale = 1): void {
  if (isQuantized(tensor.dtype)) {
    fillCodes(gpu, tensor, scale);
    return;
  }
  const half = tensor.dtype === "bf16";
  const exponent = Math.log2(scale);
  if (half && !(Number.isInteger(exponent) && exponent >= -64 && exponent <= 0))
    throw new Error(`Cannot scale ${tensor.label} by ${scale}: bf16 is scaled by a power of two from 2⁻⁶⁴ to 1`);
  const floats = half ? null : new Float32Array(new Uint32Array(BLOCK).map((word) => word << 16).buffer);
  const block = floats ? floats.map((value) => value * scale) : BLOCK.map((word) => word + exponent * 0x80);
  const count = sizeOf(tensor.shape);
  for (let at = 0; at < count; at += block.length) {
    gpu.write(tensor, block.subarray(0, Math.min(block.length, count - at)), at * (half ? 2 : 4));
  }
}

/** Random codes, with one scale for all. */
function fillCodes(gpu: Gpu, tensor: Tensor, scale: number): void {
  const bytes = codeBytes(sizeOf(tensor.shape), tensor.dtype);
  const block = new Uint8Array(BLOCK.buffer, BLOCK.byteOffset, BLOCK.byteLength);
  for (let at = 0; at < bytes; at += block.length)
    gpu.write(tensor, block.subarray(0, Math.min(block.length, bytes - at)), at);
  const scales = new Float32Array((tensor.bytes - bytes) / 4).fill(tensor.dtype === "int8" ? scale / 127 : scale);
  gpu.write(tensor, scales, bytes);
}

/** A tensor of random numbers. */
export function randomTensor(gpu: Gpu, shape: readonly number[], dtype: "f32" | "bf16", label: string): Tensor {
  const tensor = gpu.persistent(shape, dtype, label, "scratch");
  fillRandom(gpu, tensor);
  return tensor;
}
