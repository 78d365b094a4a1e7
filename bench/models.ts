import { makeBatch } from "../src/data/packing.ts";
import type { Gpu } from "../src/gpu/device.ts";
import { sizeOf } from "../src/gpu/tensor.ts";
import type { LoraConfig } from "../src/model/adapters/lora.ts";
import { isProjection, moduleNames } from "../src/model/architectures/tensors.ts";
import { buildModel, type Trained } from "../src/model/build.ts";
import type { ModelConfig } from "../src/model/config.ts";
import { initAdapter } from "../src/model/files/load.ts";
import type { WeightDType } from "../src/model/slots.ts";
import { shiftedTargets, type Transformer } from "../src/model/transformer.ts";
import { Optimizer, type OptimizerOptions } from "../src/train/optimizer.ts";
import { uniformFrom } from "../src/train/seed.ts";
import type { MicroBatch } from "../src/train/sft/batches.ts";
import { sftStep } from "../src/train/sft/step.ts";
import type { RecordedSubject } from "./measure.ts";
import { fillRandom } from "./operands.ts";
import { modelFlops } from "./sizes.ts";

export const ADAMW: OptimizerOptions = {
  optim: "adamw_torch",
  adam_beta1: 0.9,
  adam_beta2: 0.999,
  adam_epsilon: 1e-8,
  weight_decay: 0,
};

/** LoRA on every linear layer of the blocks. */
export function loraOf(config: ModelConfig, r: number): LoraConfig {
  return { r, lora_alpha: 2 * r, lora_dropout: 0, use_rslora: false, target_modules: moduleNames(config) };
}

/** A model with random weights of typical magnitude: 0.02 on average. */
export function randomModel(
  gpu: Gpu,
  config: ModelConfig,
  lora: LoraConfig | null = null,
  dtype: WeightDType = "bf16",
): Transformer {
  const trained: Trained = lora ? { lora } : "none";
  const { model, slots } = buildModel(gpu, config, trained, (name) => (isProjection(config, name) ? dtype : "bf16"));
  for (const [name, shards] of slots) {
    for (const { tensor } of shards) {
      if (name.endsWith("norm.weight"))
        gpu.write(tensor, new Uint16Array(sizeOf(tensor.shape)).fill(0x3f80)); // ones
      else fillRandom(gpu, tensor, 1 / 16);
    }
  }
  if (lora) initAdapter(gpu, model, uniformFrom(1));
  return model;
}

/** A model in training, with its optimizer. */
interface Trainee {
  model: Transformer;
  optimizer: Optimizer;
  r: number;
  dtype: WeightDType;
}

export function trainee(gpu: Gpu, config: ModelConfig, r: number = 16, dtype: WeightDType = "bf16"): Trainee {
  const model = randomModel(gpu, config, loraOf(config, r), dtype);
  return { model, optimizer: new Optimizer(gpu, model.store!, ADAMW), r, dtype };
}

/** Rows of pseudo-random tokens, all labelled. */
export function microBatch(vocab: number, sequences: number, length: number): MicroBatch {
  const rows = Array.from({ length: sequences }, (_, s) => {
    const input_ids = Array.from({ length }, (_, i) => ((i + s * length) * 7919 + 11) % vocab);
    return { input_ids, labels: input_ids };
  });
  const batch = makeBatch(rows);
  return { batch, targets: shiftedTargets(batch, batch.labels) };
}

/** A whole optimizer step: forward, backward, clipping, AdamW. */
export function stepOf(
  { model, optimizer, r, dtype }: Trainee,
  sequences: number,
  length: number,
  gradient_checkpointing: boolean = true,
): RecordedSubject {
  const { config } = model;
  const tokens = sequences * length;
  const micro = microBatch(config.vocab_size, sequences, length);
  const options = { max_grad_norm: 1, label_smoothing_factor: 0, neftune_noise_alpha: null, seed: 1 };
  let step = 0;
  return {
    what: gradient_checkpointing ? "SFT step" : "SFT step, nothing recomputed",
    shape: `${config.num_hidden_layers} layers, ${sequences > 1 ? `${sequences} × ` : ""}${length} tokens`,
    dtype,
    flops: modelFlops(config, tokens, micro.targets.rows.length, r, sequences),
    tokens,
    run: (record) => {
      model.gradient_checkpointing = gradient_checkpointing;
      sftStep(record, model, optimizer, [micro], { ...options, step: step++, learning_rate: 1e-4 });
    },
  };
}
