import type { Gpu } from "../src/gpu/device.ts";
import { modelProducts, tuneMatmul } from "../src/kernels/matmul/matmul-tune.ts";
import { weightShapes } from "../src/model/architectures/tensors.ts";
import { GREEDY, passOf } from "./generate.ts";
import { interleave } from "./measure.ts";
import { randomModel, stepOf, trainee } from "./models.ts";
import { type BenchRow, rowsOf } from "./rows.ts";
import { qwen3Model } from "./sizes.ts";

// Parts of a day at a GPU that no other bench has: Qwen3-0.6B's shapes.

const TUNING_MS = 20_000;

/** LoRA steps, 4 × 1024 tokens in one pass, tiles measured and not. */
export async function stepRows(gpu: Gpu, small: boolean): Promise<BenchRow[]> {
  const config = small ? qwen3Model(1, 2048) : qwen3Model();
  const [rows, length] = small ? [2, 32] : [4, 1024];
  const trained = trainee(gpu, config);
  const untuned = [{ ...stepOf(trained, rows, length), what: "SFT step, unmeasured tiles" }];
  const before = rowsOf(gpu, untuned, await interleave(gpu, untuned, 2, 1000));
  const products = modelProducts(weightShapes(config), rows * length, "bf16", 16);
  const tune = () => tuneMatmul(gpu, products, { budgetMs: small ? 1000 : TUNING_MS });
  await tune();
  const subjects = [stepOf(trained, rows, length), stepOf(trained, rows, length, false)];
  if (gpu.features.matrix?.type === "f16") {
    const high = <T>(body: () => T): T => {
      gpu.precision = "high";
      const done = body();
      gpu.precision = "highest"; // what is recorded keeps its kernels
      return done;
    };
    gpu.precision = "high";
    await tune();
    gpu.precision = "highest";
    const step = stepOf(trained, rows, length);
    subjects.push({ ...step, what: "SFT step, matmul_precision high", run: (record) => high(() => step.run(record)) });
  }
  return [...before, ...rowsOf(gpu, subjects, await interleave(gpu, subjects, 3, 1000))];
}

/** Decoding of 1, 16 and 64 sequences. */
export async function decodingRows(gpu: Gpu, small: boolean): Promise<BenchRow[]> {
  const model = randomModel(gpu, small ? qwen3Model(1, 2048) : qwen3Model());
  const subjects = (small ? [1, 4] : [1, 16, 64]).map((batch) => {
    const options = { batch, sampling: { ...GREEDY, temperature: 1 }, block: small ? 2 : 16, blocks: 3 };
    return passOf(model, `sampled ${batch}`, options);
  });
  return rowsOf(gpu, subjects, await interleave(gpu, subjects, small ? 1 : 3));
}
