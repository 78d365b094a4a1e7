import { readFileSync } from "node:fs";
import type { Gpu } from "../src/gpu/device.ts";
import { decodingSubjects } from "./generate.ts";
import { type Limit, meets, PEAK_F32, TORCH_BF16, TORCH_DECODING, TORCH_STEP } from "./limits.ts";
import { matmulSubjects } from "./matmul.ts";
import { interleave } from "./measure.ts";
import { randomModel, stepOf, trainee } from "./models.ts";
import { type BenchRow, rowsOf } from "./rows.ts";
import { benchModel } from "./sizes.ts";

const [SEQUENCES, LENGTH] = [4, 1024];

/** Qwench's subjects, the matching names in torch's rows, and the compared quantity. */
const PAIRS: readonly { ours: string; theirs: RegExp; by: "gflops" | "tokens_per_s"; limit: Limit | null }[] = [
  { ours: "x·Wᵀ up_proj bf16", theirs: /^x·Wᵀ up_proj bf16$/, by: "gflops", limit: TORCH_BF16 },
  { ours: "dy·W up_proj bf16", theirs: /^dy·W up_proj bf16$/, by: "gflops", limit: null },
  { ours: "x·Wᵀ up_proj f32", theirs: /^peak of f32$/, by: "gflops", limit: PEAK_F32 },
  { ours: "x·Wᵀ up_proj f32", theirs: /^x·Wᵀ up_proj f32$/, by: "gflops", limit: null },
  { ours: "SFT step", theirs: /^SFT step, PEFT/, by: "tokens_per_s", limit: TORCH_STEP },
  { ours: "greedy 16", theirs: /^greedy 16/, by: "tokens_per_s", limit: TORCH_DECODING },
  { ours: "sampled 16", theirs: /^sampled 16/, by: "tokens_per_s", limit: TORCH_DECODING },
];

/** Rows of a file, one per line. @throws {Error} a line is not a row */
export function readRows(path: string): BenchRow[] {
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.flatMap((line, i) => {
    if (line.trim() === "") return [];
    try {
      const row = JSON.parse(line) as BenchRow;
      if (typeof row.what === "string" && typeof row.median_ms === "number") return [row];
    } catch {} // told below
    throw new Error(`Cannot read ${path}: line ${i + 1} is not a row: ${line.slice(0, 80)}`);
  });
}

/**
 * Compares Qwench's rows with torch's at the same shapes: the speed relative to torch's fastest variant, and whether it meets
 * the limit.
 *
 * @throws {Error} matching rows have other shapes
 */
export function besideTorch(
  ours: readonly BenchRow[],
  theirs: readonly BenchRow[],
  report: (line: string) => void,
): BenchRow[] {
  return PAIRS.flatMap(({ ours: name, theirs: pattern, by, limit }) => {
    const mine = ours.find(({ what }) => what === name);
    if (!mine) return [];
    const found = theirs
      .map((row) => ({ row, what: row.what.replace(/^torch [^:]*: /, "") }))
      .filter(({ what }) => pattern.test(what));
    if (found.length === 0) {
      report(`${name} is not compared: torch's rows have no ${pattern.source.replace(/[\^$]/g, "")}`);
      return [];
    }
    const other = found.find(({ row }) => row.shape !== mine.shape);
    if (other)
      throw new Error(
        `Cannot compare ${name} of ${mine.shape} with ${other.row.what} of ${other.row.shape}: the shapes differ`,
      );
    const best = found.reduce((most, next) => ((next.row[by] ?? 0) > (most.row[by] ?? 0) ? next : most));
    const ratio = mine[by]! / best.row[by]!;
    const unit = by === "gflops" ? "GFLOP/s" : "tokens/s";
    const judged = limit ? { ...limit, met: meets(ratio, limit) } : {};
    const peers = best.what.startsWith("peak") ? {} : { peers: { torch: ratio } };
    const against = `${unit} of ${best.row.what} on ${best.row.adapter}`;
    return [{ ...mine, ratio, cpu_ratio: null, against, ...judged, ...peers }];
  });
}

/** Measures Qwench at the shapes of bench/torch/bench.py and compares. @param theirs torch's rows */
export async function benchTorch(
  gpu: Gpu,
  theirs: readonly BenchRow[],
  rounds: number,
  report: (line: string) => void,
): Promise<BenchRow[]> {
  const ours: BenchRow[] = [];
  const parts = [
    () => matmulSubjects(gpu, SEQUENCES * LENGTH, ["bf16", "f32"]),
    () => [stepOf(trainee(gpu, benchModel()), SEQUENCES, LENGTH)],
    () => decodingSubjects(randomModel(gpu, benchModel())).map((subject) => ({ ...subject, against: undefined })),
  ];
  for (const make of parts) {
    const subjects = make();
    ours.push(...rowsOf(gpu, subjects, await interleave(gpu, subjects, rounds)));
    await gpu.clear();
  }
  return besideTorch(ours, theirs, report);
}
