import type { Gpu } from "../src/gpu/device.ts";
import { yardsticks } from "./matmul.ts";
import { interleave, ratioOf, type Subject } from "./measure.ts";
import { stepOf, trainee } from "./models.ts";
import { type BenchRow, bestOf, rowsOf } from "./rows.ts";
import { benchModel } from "./sizes.ts";

interface SftBenchOptions {
  tokens: number;
  rounds: number;
  layers?: number;
}

/**
 * Whole optimizer steps (forward, backward, clipping, AdamW) of Qwen2.5-0.5B's shapes in bf16 with LoRA r = 16 on all seven
 * projections, relative to the matmuls at its shapes. The ratio of FLOP/s shows the cost of the rest of a step.
 */
export async function benchSft(gpu: Gpu, { tokens, rounds, layers }: SftBenchOptions): Promise<BenchRow[]> {
  const trained = trainee(gpu, benchModel(layers));
  const steps = [stepOf(trained, 1, tokens), stepOf(trained, 1, tokens, false)];
  const subjects: Subject[] = [...steps, ...yardsticks(gpu, tokens)];
  const times = await interleave(gpu, subjects, rounds, 1000);
  const rows = rowsOf(gpu, subjects, times);
  const best = bestOf(subjects, times);
  for (const i of steps.keys()) {
    // ratio of FLOP/s, round by round
    const more = subjects[i].flops! / subjects[best].flops!;
    rows[i].ratio = ratioOf(times[best], times[i], "ms", more);
    rows[i].cpu_ratio = ratioOf(times[best], times[i], "cpu", more);
    rows[i].against = `GFLOP/s of ${subjects[best].what}`;
  }
  return rows;
}

/** The same steps over a base in bf16, NF4 and int8: the cost of dequantising. */
export async function benchQlora(gpu: Gpu, { tokens, rounds, layers }: SftBenchOptions): Promise<BenchRow[]> {
  const config = benchModel(layers);
  const steps = (["bf16", "nf4", "int8"] as const).map((dtype, i) => {
    const step = stepOf(trainee(gpu, config, 16, dtype), 1, tokens);
    return { ...step, what: `${step.what}, ${dtype} base`, against: i > 0 ? "SFT step, bf16 base" : undefined };
  });
  const subjects = [...steps, ...yardsticks(gpu, tokens)];
  return rowsOf(gpu, subjects, await interleave(gpu, subjects, rounds, 1000));
}
