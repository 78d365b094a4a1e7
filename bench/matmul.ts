import type { MatmulTile } from "../shaders/matmul/lib/variant.ts";
import type { Gpu } from "../src/gpu/device.ts";
import { matrixTiles } from "../src/kernels/matmul/gpu-tiles.ts";
import { matmul } from "../src/kernels/matmul/matmul.ts";
import { tileCandidates } from "../src/kernels/matmul/matmul-tile.ts";
import { interleave, type Subject } from "./measure.ts";
import { randomTensor, randomWeights } from "./operands.ts";
import { type BenchRow, rowsOf } from "./rows.ts";
import { benchModel } from "./sizes.ts";

type Run = (record: Parameters<typeof matmul>[0]) => void;

/** The three products of a linear layer, forward and backward, at the model's shapes. */
export function matmulSubjects(gpu: Gpu, tokens: number, dtypes: readonly ("f32" | "bf16")[]): Subject[] {
  const { hidden_size: hidden, intermediate_size: inner } = benchModel();
  const subjects: Subject[] = [];
  const x = randomTensor(gpu, [tokens, hidden], "f32", "x");
  const dy = randomTensor(gpu, [tokens, inner], "f32", "dy");
  for (const dtype of dtypes) {
    const add = (what: string, shape: string, n: number, k: number, run: Run, against?: string) =>
      subjects.push({
        what: `${what} ${dtype}`,
        shape,
        dtype,
        flops: 2 * tokens * n * k,
        run,
        against,
        yardstick: true,
      });
    const up = randomWeights(gpu, [inner, hidden], dtype, "up_proj");
    const q = randomWeights(gpu, [hidden, hidden], dtype, "q_proj");
    const nt = `x·Wᵀ up_proj ${dtype}`;
    add("x·Wᵀ up_proj", `[${tokens},${hidden}]→${inner}`, inner, hidden, (r) => matmul(r, x, up, { transB: true }));
    add("dy·W up_proj", `[${tokens},${inner}]→${hidden}`, inner, hidden, (r) => matmul(r, dy, up), nt);
    add("x·Wᵀ q_proj", `[${tokens},${hidden}]→${hidden}`, hidden, hidden, (r) => matmul(r, x, q, { transB: true }), nt);
    if (dtype !== "f32") continue;
    const dW = gpu.persistent([inner, hidden], "f32", "dW", "scratch");
    const into = { transA: true, into: dW, accumulate: true };
    add("dyᵀ·x up_proj", `[${inner},${tokens}]→${hidden}`, inner, hidden, (r) => matmul(r, dy, x, into), nt);
  }
  return subjects;
}

/** The reference products for the shares in other rows. */
export function yardsticks(gpu: Gpu, tokens: number): Subject[] {
  return matmulSubjects(gpu, tokens, ["bf16"]).map((subject) => ({ ...subject, against: undefined }));
}

/** Variants of the forward product on a GPU, each with every tile size that tuning tries, and with few rows. */
function formSubjects(gpu: Gpu, tokens: number): Subject[] {
  if (gpu.profile.kind === "cpu") return [];
  const { hidden_size: hidden, intermediate_size: inner } = benchModel();
  const up = randomWeights(gpu, [inner, hidden], "bf16", "up_proj");
  const add = (what: string, rows: number, tile?: MatmulTile): Subject => {
    const x = randomTensor(gpu, [rows, hidden], "f32", "x");
    return {
      what: `x·Wᵀ up_proj bf16, ${what}`,
      shape: `[${rows},${hidden}]→${inner}`,
      dtype: "bf16",
      flops: 2 * rows * inner * hidden,
      run: (record) => matmul(record, x, up, { transB: true, tile }),
      against: rows === tokens ? "x·Wᵀ up_proj bf16" : undefined,
    };
  };
  const tiles = tileCandidates(gpu, false, true);
  const name = ({ rows, cols, lanes, groups, stage }: MatmulTile) =>
    `${rows * groups}×${cols * lanes} of ${rows}×${cols}${stage > 0 ? ` by ${stage}` : ""}`;
  const staged = tiles.filter(({ stage, matrix }) => stage > 0 && !matrix);
  return [
    ...tiles.filter(({ matrix }) => !matrix).map((tile) => add(`f32 ${name(tile)}`, tokens, tile)),
    ...(gpu.features.f16 ? staged : []).map((tile) => add(`f16 ${name(tile)}`, tokens, { ...tile, compute: "f16" })),
    ...matrixTiles(gpu).map((tile) => add(`matrices ${tile.matrix.type} ${name(tile)}`, tokens, tile)),
    ...[1, 4, 16, 64].map((rows) => add("few rows", rows)),
  ];
}

/** GFLOP/s of each variant. Ratios are times over the forward product's time. */
export async function benchMatmul(gpu: Gpu, tokens: number, rounds: number): Promise<BenchRow[]> {
  const subjects = [...matmulSubjects(gpu, tokens, ["bf16", "f32"]), ...formSubjects(gpu, tokens)];
  return rowsOf(gpu, subjects, await interleave(gpu, subjects, rounds));
}
