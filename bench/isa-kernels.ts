import { GRPO_LOSS_DEFAULTS } from "../shaders/loss/grpo-losses.ts";
import type { AdapterLike } from "../src/gpu/fake-device.ts";
import type { Kernel } from "../src/gpu/program.ts";
import type { ModelConfig } from "../src/model/config.ts";
import { recordGeneration } from "../src/model/generate/foresee.ts";
import type { SamplingOptions } from "../src/model/generate/generate.ts";
import { type FakeRun, fakeRun, shallow } from "../src/train/forecast/memory.ts";
import { worstBatch } from "../src/train/forecast/sft.ts";
import { grpoObjective, tokenLogps } from "../src/train/grpo/objective.ts";
import type { GrpoSequence } from "../src/train/grpo/sequences.ts";
import { update } from "../src/train/optimizer.ts";
import { sftStep } from "../src/train/sft/step.ts";
import { ADAMW, loraOf } from "./models.ts";
import { publishedModels } from "./sizes.ts";

// The kernels for training and decoding at published shapes, found by recording both on a device that runs nothing. This needs
// no weights, and two layers use every kernel that a deeper model uses.

const RANK = 16;
const ROWS = 4;
const LENGTH = 1024;
/** Sequences decoded together. */
const DECODED = [1, 16, 64];
const GREEDY: SamplingOptions = { temperature: 0, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1 };
const SAMPLED: SamplingOptions = { ...GREEDY, temperature: 1, top_k: 50, top_p: 0.95 };
const STEP = { step: 0, learning_rate: 0, max_grad_norm: 1 };

/** A fake device that records a model's kernels. */
function runOf(adapter: AdapterLike, config: ModelConfig): FakeRun {
  const trained = { lora: loraOf(config, RANK) };
  return fakeRun({ config: shallow(config), trained, dtypeOf: () => "bf16", optimizer: ADAMW, adapter });
}

/** A LoRA step of 4 × 1024 tokens. */
function recordSft({ model, optimizer, record }: FakeRun): void {
  const options = { ...STEP, label_smoothing_factor: 0, neftune_noise_alpha: null, seed: 0 };
  sftStep(record, model, optimizer, worstBatch(ROWS, LENGTH), options).catch(() => {}); // the fake device computes no numbers, so errors about them are expected
}

/** Log-probs of the completions and of the reference, and the update. */
function recordGrpo({ model, optimizer, record }: FakeRun): void {
  const half = LENGTH / 2;
  const logps = new Float32Array(half);
  const sequences = Array.from({ length: ROWS }, (_, i): GrpoSequence => {
    const advantage = i % 2 ? 1 : -1;
    const ids = new Uint32Array(half);
    return { prompt_ids: ids, completion_ids: ids, advantage, old_logps: logps, ref_logps: logps };
  });
  const loss = {
    loss_type: "dapo",
    importance_sampling_level: "token",
    ...GRPO_LOSS_DEFAULTS,
    beta: 0.04,
    use_bias_correction_kl: true,
    off_policy_mask_threshold: null,
    top_entropy_quantile: 1,
    entropy_coef: null,
    temperature: 1,
    max_completion_length: half,
    num_items_in_batch: ROWS * half,
  } as const;
  for (const of of [model, model.withoutAdapter()])
    tokenLogps(record, of, sequences, { temperature: 1 }).catch(() => {});
  grpoObjective(record, model, sequences, loss).catch(() => {});
  update(record, model.store!, optimizer, STEP);
}

/** Greedy and sampled decoding. */
async function recordDecoding({ model }: FakeRun): Promise<void> {
  for (const slots of DECODED) {
    for (const sampling of [GREEDY, SAMPLED])
      await recordGeneration(model, { ...sampling, slots, prompts: [256], max_new_tokens: 256 });
  }
}

/** A kernel and its variant in one line. */
export interface NamedKernel extends Kernel {
  name: string;
}

/**
 * The kernels for training and decoding at published models' shapes, in every precision that the adapter has. Equal kernel texts appear once, because a driver compiles
 * them once.
 *
 * @param adapter the adapter for which kernel variants are chosen
 */
export async function kernelsOfPublished(adapter: AdapterLike): Promise<NamedKernel[]> {
  const found = new Map<string, NamedKernel>();
  const { limits, features, profile, tuning } = adapter;
  const precisions = features?.matrix?.type === "f16" ? (["highest", "high"] as const) : (["highest"] as const);
  for (const precision of precisions) {
    for (const config of publishedModels()) {
      const run = runOf({ limits, features, profile, tuning, precision }, config);
      recordSft(run);
      recordGrpo(run);
      await recordDecoding(run);
      for (const kernel of run.gpu.programs.kernels) {
        const code = kernel.shader(kernel.variant);
        if (!found.has(code)) found.set(code, { ...kernel, name: kernel.shader.name });
      }
    }
  }
  return [...found.values()];
}
