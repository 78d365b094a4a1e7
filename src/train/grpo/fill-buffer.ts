import { lossSettings } from "../../../shaders/loss/grpo-losses.ts";
import type { Transformer } from "../../model/transformer.ts";
import type { GrpoRecipe } from "../../recipe/recipe.ts";
import { Means } from "../metrics.ts";
import { mixSeed } from "../seed.ts";
import type { GrpoBatches } from "./batches.ts";
import type { GenerationBuffer } from "./buffer.ts";
import { type GrpoLossOptions, tokenLogps } from "./objective.ts";
import { type CompletionRecord, type GrpoData, rollOut, seenBy } from "./rollout.ts";
import type { GrpoSequence } from "./sequences.ts";

/** A generation batch that is ready for training, with its metrics. */
export interface FilledBuffer {
  buffer: GenerationBuffer;
  records: CompletionRecord[];
  metrics: Record<string, number>;
  /** of prompts and completions */
  tokens: number;
  unscored: number;
}

/** Draws and scores generation batch `generation`, and computes the old and reference log-probs for its steps. */
export async function fillBuffer(
  model: Transformer,
  reference: Transformer | null,
  data: GrpoData,
  recipe: GrpoRecipe,
  batches: GrpoBatches,
  at: {
    generation: number;
    step: number;
    signal?: AbortSignal;
    onProgress?: (done: number, total: number) => void;
  },
): Promise<FilledBuffer> {
  const rows = batches.promptsOf(at.generation).map((row) => data.train[row]);
  const { num_generations } = recipe;
  const { generations, tool_masks, records, advantages, metrics, unscored } = await rollOut(model, data, recipe, {
    rows,
    num_generations,
    seed: mixSeed(recipe.seed, 4),
    sequence: at.generation * batches.size,
    step: at.step,
    signal: at.signal,
    onProgress: at.onProgress,
  });
  const seen = await seenBy(model, rows, data);
  const sequences = generations.map(({ ids, finish_reason }, i): GrpoSequence => {
    const masked = recipe.mask_truncated_completions && finish_reason === "length";
    const prompt = Math.floor(i / num_generations);
    return {
      prompt_ids: rows[prompt].prompt_ids,
      images: seen[prompt],
      completion_ids: ids,
      completion_mask: masked ? new Uint8Array(ids.length) : (tool_masks?.[i] ?? null),
      advantage: advantages[i],
      old_logps: null,
      ref_logps: null,
    };
  });
  const size = recipe.per_device_train_batch_size;
  for (let from = 0; from < sequences.length; from += size) {
    const part = sequences.slice(from, from + size);
    const old = batches.offPolicy ? logpsOf(model, part, recipe) : null;
    const ref = reference && logpsOf(reference, part, recipe);
    const [olds, refs] = [await old, await ref];
    part.forEach((sequence, i) => {
      sequence.old_logps = olds?.[i] ?? null;
      sequence.ref_logps = refs?.[i] ?? null;
    });
  }
  const active = sequences.reduce((n, s) => n + countActive(s), 0);
  const tokens = sequences.reduce((n, s) => n + s.prompt_ids.length + s.completion_ids.length, 0);
  return { buffer: { generation: at.generation, sequences, active }, records, metrics, tokens, unscored };
}

/** Gives the sequences of a restored buffer their images, which its file lacks. */
export async function seeAgain(
  model: Transformer,
  data: GrpoData,
  { num_generations }: Pick<GrpoRecipe, "num_generations">,
  batches: GrpoBatches,
  { generation, sequences }: GenerationBuffer,
): Promise<void> {
  const rows = batches.promptsOf(generation).map((row) => data.train[row]);
  const seen = await seenBy(model, rows, data);
  sequences.forEach((sequence, i) => {
    sequence.images = seen[Math.floor(i / num_generations)];
  });
}

/** Tokens that are trained on. */
function countActive({ completion_ids, completion_mask }: GrpoSequence): number {
  return completion_mask ? Array.from(completion_mask).filter(Boolean).length : completion_ids.length;
}

async function logpsOf(
  model: Transformer,
  sequences: readonly GrpoSequence[],
  recipe: Pick<GrpoRecipe, "temperature">,
): Promise<Float32Array[]> {
  const record = model.gpu.recorder();
  const taken = tokenLogps(record, model, sequences, recipe);
  record.submit();
  return (await taken).logps;
}

/** What the loss of a micro-batch depends on. @param micros micro-batches of the optimizer step */
export function lossOptions(
  recipe: GrpoRecipe,
  batches: GrpoBatches,
  buffer: GenerationBuffer,
  micros: number,
  at: { step: number; micro: number; entropy_coef: number | null },
): GrpoLossOptions {
  const slices = batches.size / recipe.per_device_train_batch_size;
  return {
    loss_type: recipe.loss_type,
    importance_sampling_level: recipe.importance_sampling_level,
    ...lossSettings(recipe),
    beta: recipe.beta,
    use_bias_correction_kl: recipe.use_bias_correction_kl,
    off_policy_mask_threshold: recipe.off_policy_mask_threshold,
    top_entropy_quantile: recipe.top_entropy_quantile,
    entropy_coef: at.entropy_coef,
    temperature: recipe.temperature,
    max_completion_length: recipe.max_completion_length,
    num_items_in_batch: (buffer.active * micros) / slices,
    gradient_accumulation_steps: micros,
    dropoutSeed: mixSeed(recipe.seed, 1, at.step, at.micro),
  };
}

/** Prompts of an evaluation batch, and completions per prompt. */
export function evalBatchOf(recipe: GrpoRecipe): { prompts: number; num_generations: number } {
  const num_generations = recipe.num_generations_eval ?? recipe.num_generations;
  return { num_generations, prompts: Math.max(1, Math.floor(recipe.per_device_eval_batch_size / num_generations)) };
}

/** Rewards and lengths over the evaluation prompts, by TRL's names. @param step optimizer steps taken */
export async function evaluateGrpo(
  model: Transformer,
  data: GrpoData,
  recipe: GrpoRecipe,
  step: number,
): Promise<Record<string, number>> {
  const { num_generations, prompts: size } = evalBatchOf(recipe);
  const means = new Means();
  for (let from = 0; from < data.eval!.length; from += size) {
    const { metrics } = await rollOut(model, data, recipe, {
      rows: data.eval!.slice(from, from + size),
      num_generations,
      seed: mixSeed(recipe.seed, 6),
      sequence: from * num_generations,
      step,
    });
    means.add(metrics);
  }
  return means.take();
}
