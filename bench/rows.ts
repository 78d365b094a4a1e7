import { execFileSync } from "node:child_process";
import { appendFileSync } from "node:fs";
import type { Gpu } from "../src/gpu/device.ts";
import { renderTable } from "../src/text/tables.ts";
import { median, ratioOf, type Subject, spread, type Time } from "./measure.ts";

/** One measured figure: a line of results.jsonl. */
export interface BenchRow {
  commit: string;
  /** ISO 8601, UTC */
  date: string;
  adapter: string;
  what: string;
  shape: string;
  dtype: string;
  median_ms: number;
  /** (slowest − fastest) / median: shows other load on the machine */
  spread: number;
  gflops: number | null;
  /** if the subject generates or trains on tokens */
  tokens_per_s?: number;
  /** CPU time of all threads of the process, which a busy machine disturbs least on a CPU adapter */
  cpu_ms?: number;
  /** `ratio` by CPU time */
  cpu_ratio?: number | null;
  /** share of the best matmul's GFLOP/s in the same rounds */
  share?: number;
  /** `share` by CPU time */
  cpu_share?: number;
  /** relative to the subject in `against`; null if there is none */
  ratio: number | null;
  against: string | null;
  /** speed relative to each peer at the same product, in the same rounds */
  peers?: Record<string, number>;
  /** the limit for `ratio` */
  least?: number;
  most?: number;
  /** whether `ratio` meets the limit, by wall-clock time */
  met?: boolean;
  /** the size, if the row is one of a series by size */
  x?: number;
  /** if fewer rounds ran than requested */
  rounds?: number;
  /** peak GPU memory: forecast and allocated */
  forecast_bytes?: number;
  bytes?: number;
}

/** Rows of subjects, computed from their times. */
export function rowsOf(gpu: Gpu, subjects: readonly Subject[], times: readonly (readonly Time[])[]): BenchRow[] {
  const best = bestOf(subjects, times);
  return subjects.map(({ what, shape, dtype, flops, tokens, against }, i) => {
    const base = subjects.findIndex((s) => s.what === against);
    const ms = median(times[i].map((time) => time.ms));
    const row: BenchRow = {
      ...about(gpu),
      what,
      shape,
      dtype,
      median_ms: ms,
      spread: spread(times[i].map((time) => time.ms)),
      gflops: flops === null ? null : flops / ms / 1e6,
      cpu_ms: median(times[i].map((time) => time.cpu)),
      // from each round's ratio, because a disturbance of a round slows both
      ratio: base < 0 ? null : ratioOf(times[i], times[base]),
      against: base < 0 ? null : against!,
    };
    if (tokens !== undefined) row.tokens_per_s = (1000 * tokens) / ms;
    if (base >= 0) row.cpu_ratio = ratioOf(times[i], times[base], "cpu");
    if (best >= 0 && flops !== null) {
      const more = flops / subjects[best].flops!;
      row.share = ratioOf(times[best], times[i], "ms", more);
      row.cpu_share = ratioOf(times[best], times[i], "cpu", more);
    }
    return row;
  });
}

/** Index of the reference matmul with the most GFLOP/s; −1 if there is none. */
export function bestOf(
  subjects: readonly Pick<Subject, "flops" | "yardstick">[],
  times: readonly (readonly Time[])[],
): number {
  const gflops = subjects.map(({ flops, yardstick }, i) =>
    yardstick ? flops! / median(times[i].map(({ ms }) => ms)) : Number.NEGATIVE_INFINITY,
  );
  const most = Math.max(...gflops);
  return most > 0 ? gflops.indexOf(most) : -1;
}

/** Fields that every row of a run has. */
export function about(gpu: Gpu): Pick<BenchRow, "commit" | "date" | "adapter"> {
  return { commit: commit(), date: new Date().toISOString(), adapter: gpu.adapterName };
}

let known: string | null = null;

/** Files that the benchmark itself writes. */
const OUTPUTS = ["results.jsonl", "scale.md", "scale.svg"].map((name) => `:!bench/${name}`);

/** The current commit, with `+` if files differ from it, apart from the benchmark's own files. */
export function commit(): string {
  if (known !== null) return known;
  try {
    const git = (...args: string[]) => execFileSync("git", args, { encoding: "utf8", stdio: "pipe" }).trim();
    const changed = git("status", "--porcelain", "-uno", "--", ":/", ...OUTPUTS);
    known = git("rev-parse", "--short", "HEAD") + (changed ? "+" : "");
  } catch {
    known = "unknown";
  }
  return known;
}

const number = (value: number | null | undefined, digits: number) => (value == null ? "" : value.toFixed(digits));
const megabytes = (bytes: number | undefined) => (bytes === undefined ? "" : (bytes / 1e6).toFixed(0));

/** Optional columns, printed if a row has a value. */
const COLUMNS: readonly { heading: string; align?: "right"; cell(row: BenchRow): string }[] = [
  { heading: "what", cell: (r) => r.what },
  { heading: "shape", cell: (r) => r.shape },
  { heading: "dtype", cell: (r) => r.dtype },
  { heading: "ms", align: "right", cell: (r) => number(r.median_ms, r.median_ms < 10 ? 2 : 1) },
  { heading: "± %", align: "right", cell: (r) => number(50 * r.spread, 0) },
  { heading: "GFLOP/s", align: "right", cell: (r) => number(r.gflops, 1) },
  { heading: "share", align: "right", cell: (r) => number(r.share, 2) },
  { heading: "by CPU", align: "right", cell: (r) => number(r.cpu_share, 2) },
  { heading: "tokens/s", align: "right", cell: (r) => number(r.tokens_per_s, 1) },
  { heading: "forecast MB", align: "right", cell: (r) => megabytes(r.forecast_bytes) },
  { heading: "MB", align: "right", cell: (r) => megabytes(r.bytes) },
  { heading: "CPU ms", align: "right", cell: (r) => number(r.cpu_ms, 1) },
  { heading: "ratio", align: "right", cell: (r) => number(r.ratio, 3) },
  { heading: "ratio by CPU", align: "right", cell: (r) => number(r.cpu_ratio, 3) },
  { heading: "asked", cell: limitOf },
  { heading: "met", cell: (r) => (r.met === undefined ? "" : r.met ? "yes" : "NO") },
  { heading: "of", cell: (r) => r.against ?? "" },
  {
    heading: "× peers",
    cell: (r) =>
      Object.entries(r.peers ?? {})
        .map(([name, ratio]) => `${name} ${ratio.toFixed(2)}`)
        .join(", "),
  },
];

/** A row's limit as text. */
export function limitOf({ least, most }: Pick<BenchRow, "least" | "most">): string {
  if (least !== undefined) return `≥ ${least}`;
  return most === undefined ? "" : `≤ ${most}`;
}

/** Rows as a text table. */
export function tableOf(rows: readonly BenchRow[]): string {
  const filled = COLUMNS.filter(({ cell }) => rows.some((row) => cell(row) !== ""));
  return renderTable(
    filled.map(({ heading, align }) => ({ heading, align })),
    rows.map((row) => filled.map(({ cell }) => cell(row))),
  );
}

/** Appends rows to a file, one line each. */
export function save(path: string, rows: readonly object[]): void {
  if (rows.length === 0) return;
  appendFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}
