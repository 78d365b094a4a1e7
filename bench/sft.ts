import { makeBatch } from "../src/data/packing.ts";
import type { Gpu } from "../src/gpu/device.ts";
import { sizeOf } from "../src/gpu/tensor.ts";
import { buildModel } from "../src/model/build.ts";
import type { ModelConfig } from "../src/model/config.ts";
import { initAdapter } from "../src/model/load.ts";
import { isProjection, PROJECTIONS, projectionShape } from "../src/model/names.ts";
import { shiftedTargets } from "../src/model/transformer.ts";
import { Optimizer } from "../src/train/optimizer.ts";
import { uniformFrom } from "../src/train/seed.ts";
import { sftStep } from "../src/train/step.ts";
import { matmulSubjects } from "./matmul.ts";
import { type BenchRow, fillRandom, interleave, median, rowsOf, type Subject } from "./rows.ts";
import { benchModel } from "./sizes.ts";

/**
 * Floating-point operations that a LoRA training step needs by its mathematics; what is computed again in the backward
 * pass does not count, nor do norms, activations and the optimizer.
 *
 *   2·P·T  forward, 2·P·T  gradients of inputs          P: entries of the linear layers' frozen weights, T: tokens
 * + 6·L·T  forward, inputs, weights of the low-rank pairs   L: their entries
 * + 4·V·H·R  logits and gradient of the hidden rows      R: rows with a label
 * + 3.5·(2·T²·Q·D)  per layer: 2 products forward and 5 back, the causal half of each   Q heads of D
 */
export function modelFlops(config: ModelConfig, tokens: number, labelled: number, rank: number): number {
  let [frozen, lowRank] = [0, 0];
  for (const projection of PROJECTIONS) {
    const [out, into] = projectionShape(config, projection);
    frozen += out * into;
    lowRank += rank * (out + into);
  }
  const attention = 3.5 * 2 * tokens ** 2 * config.num_attention_heads * config.head_dim;
  const layer = 4 * frozen * tokens + 6 * lowRank * tokens + attention;
  return config.num_hidden_layers * layer + 4 * config.vocab_size * config.hidden_size * labelled;
}

export interface SftBenchOptions {
  tokens: number;
  rounds: number;
  layers?: number;
}

/**
 * Whole optimizer steps (forward, backward, clipping, AdamW) of Qwen2.5-0.5B's shapes in bf16 with LoRA r = 16 on all seven
 * projections, beside the matmuls at its shapes: the ratio of their FLOP/s says what the rest of a step costs.
 */
export async function benchSft(gpu: Gpu, { tokens, rounds, layers }: SftBenchOptions): Promise<BenchRow[]> {
  const config = benchModel(layers);
  const step = stepOf(gpu, config, tokens, "bf16");
  const subjects: Subject[] = [step, ...matmulSubjects(gpu, tokens, ["bf16"])];
  const { flops } = step;
  gpu.profiler?.reset();
  const times = await interleave(gpu, subjects, rounds, 1000);
  const rows = rowsOf(gpu, subjects, times);
  const best = rows.slice(1).reduce((a, b) => (a.gflops! > b.gflops! ? a : b));
  const at = rows.indexOf(best);
  // FLOP/s over FLOP/s, round by round
  const ratio = median(times[0].map((ms, i) => flops! / ms / (subjects[at].flops! / times[at][i])));
  for (const row of rows) Object.assign(row, { ratio: null, against: null });
  Object.assign(rows[0], { ratio, against: `GFLOP/s of ${best.what}` });
  return rows;
}

/** The same steps over a base in bf16, NF4 and int8: what de-quantising costs. */
export async function benchQlora(gpu: Gpu, { tokens, rounds, layers }: SftBenchOptions): Promise<BenchRow[]> {
  const config = benchModel(layers);
  const subjects = (["bf16", "nf4", "int8"] as const).map((dtype, i) => {
    const step = stepOf(gpu, config, tokens, dtype);
    return { ...step, what: `${step.what}, ${dtype} base`, against: i > 0 ? "SFT step, bf16 base" : undefined };
  });
  return rowsOf(gpu, subjects, await interleave(gpu, subjects, rounds, 1000));
}

/** A step of a model with random weights. */
function stepOf(gpu: Gpu, config: ModelConfig, tokens: number, dtype: "bf16" | "nf4" | "int8"): Subject {
  const r = 16;
  const lora = { r, lora_alpha: 32, lora_dropout: 0, use_rslora: false, target_modules: PROJECTIONS };
  const { model, slots } = buildModel(gpu, config, { lora }, (name) => (isProjection(name) ? dtype : "bf16"));
  for (const [name, shards] of slots) {
    for (const { tensor } of shards) {
      if (name.endsWith("norm.weight"))
        gpu.write(tensor, new Uint16Array(sizeOf(tensor.shape)).fill(0x3f80)); // ones
      else fillRandom(gpu, tensor);
    }
  }
  initAdapter(gpu, model, uniformFrom(1));
  const optimizer = new Optimizer(gpu, model.store!, {
    optim: "adamw_torch",
    adam_beta1: 0.9,
    adam_beta2: 0.999,
    adam_epsilon: 1e-8,
    weight_decay: 0,
  });
  const input_ids = Array.from({ length: tokens }, (_, i) => (i * 7919) % config.vocab_size);
  const batch = makeBatch([{ input_ids, labels: input_ids }]);
  const micro = { batch, targets: shiftedTargets(batch, batch.labels) };
  let step = 0;
  const options = { max_grad_norm: 1, label_smoothing_factor: 0, neftune_noise_alpha: null, seed: 1 };
  return {
    what: "SFT step",
    shape: `${config.num_hidden_layers} layers, ${tokens} tokens`,
    dtype,
    flops: modelFlops(config, tokens, micro.targets.rows.length, r),
    run: (record) => void sftStep(record, model, optimizer, [micro], { ...options, step: step++, learning_rate: 1e-4 }),
  };
}
