import type { PromptRow } from "../../data/prompts.ts";
import type { Kernel } from "../../gpu/program.ts";
import { recordGeneration } from "../../model/generate/foresee.ts";
import { generate } from "../../model/generate/generate.ts";
import type { Transformer } from "../../model/transformer.ts";
import type { GrpoRecipe } from "../../recipe/recipe.ts";
import type { GrpoBatches } from "../grpo/batches.ts";
import { EntropyControl } from "../grpo/entropy-control.ts";
import { evalBatchOf, lossOptions } from "../grpo/fill-buffer.ts";
import { grpoObjective, tokenLogps } from "../grpo/objective.ts";
import { type GrpoData, slotsFor } from "../grpo/rollout.ts";
import type { GrpoSequence } from "../grpo/sequences.ts";
import { update } from "../optimizer.ts";
import { referenceOf } from "../reference.ts";
import {
  blankImages,
  type FakeRun,
  type ForecastModel,
  fakeRun,
  forecastFrom,
  type MemoryForecast,
  shallow,
  withAdvice,
} from "./memory.ts";

/** Epochs to search for the largest micro-batch. */
const EPOCHS = 2;

interface GrpoForecastInput extends ForecastModel {
  recipe: GrpoRecipe;
  batches: GrpoBatches;
  data: Pick<GrpoData, "train"> & Partial<Pick<GrpoData, "eval">>;
  /** whether training goes on from an adapter */
  continued: boolean;
}

/**
 * Forecasts the memory of a GRPO run before anything is allocated, by recording its largest generation batch and
 * micro-batch on a device that only counts. Assumes completions of max_completion_length tokens.
 */
export async function forecastGrpo(input: GrpoForecastInput): Promise<MemoryForecast> {
  const { recipe } = input;
  const { batch, micro } = largest(input);
  const held = heldOut(input);
  const run = await recordGrpo(input, micro, async (model) => {
    if (held) await complete(model, held, recipe);
    await complete(model, batch, recipe);
  });
  const tokens = lengthsOf(micro).reduce((sum, length) => sum + length + recipe.max_completion_length, 0);
  return forecastFrom(run, input.config, tokens);
}

/** Records the completion of prompts. */
async function complete(model: Transformer, prompts: readonly Prompt[], recipe: GrpoRecipe): Promise<void> {
  const lengths = lengthsOf(prompts);
  const shared = new Map(lengths.map((length) => [length, new Array<number>(length).fill(0)]));
  await generate(
    model,
    prompts.map((prompt, sequence) => ({
      prompt_ids: prompt.row_images ? prompt.prompt_ids : shared.get(prompt.prompt_ids.length)!,
      images: blankImages(model, prompt),
      sequence,
    })),
    {
      ...recipe,
      min_p: recipe.min_p ?? 0,
      max_new_tokens: recipe.max_completion_length,
      eos_token_ids: [],
      seed: 0,
      slots: slotsFor(
        model,
        lengths.length,
        Math.max(...lengths) + recipe.max_completion_length,
        model.gpu.activations,
      ),
      stop: () => 1, // one block is enough
    },
  );
}

/** The part of a prompt that memory depends on. */
type Prompt = Pick<PromptRow, "prompt_ids" | "row_images">;

const lengthsOf = (prompts: readonly Prompt[]) => prompts.map(({ prompt_ids }) => prompt_ids.length);

/** Prompts of the evaluation batch with the longest prompt, one per completion; null without evaluation. */
function heldOut({ recipe, data }: GrpoForecastInput): Prompt[] | null {
  if (!data.eval?.length) return null;
  const { prompts, num_generations } = evalBatchOf(recipe);
  let longest: Prompt[] = [];
  for (let from = 0; from < data.eval.length; from += prompts) {
    const rows = data.eval.slice(from, from + prompts);
    if (Math.max(...lengthsOf(rows)) > Math.max(0, ...lengthsOf(longest))) longest = rows;
  }
  return longest.flatMap((row) => new Array<Prompt>(num_generations).fill(row));
}

/** The kernels that a GRPO run compiles in its first steps. */
export async function kernelsOfGrpo(input: GrpoForecastInput): Promise<Kernel[]> {
  const { batch, micro } = largest(input);
  const { temperature, top_k, top_p, min_p, repetition_penalty, max_completion_length: max_new_tokens } = input.recipe;
  const lengths = lengthsOf(batch);
  const slots = slotsFor(input, batch.length, Math.max(...lengths) + max_new_tokens, input.adapter.activations);
  const sampling = { temperature, top_k, top_p, min_p: min_p ?? 0, repetition_penalty };
  const { gpu } = await recordGrpo({ ...input, config: shallow(input.config) }, micro, (model) =>
    recordGeneration(model, { ...sampling, slots, prompts: lengths, max_new_tokens }),
  );
  return gpu.programs.kernels;
}

/** One generation batch and one step, on a device that computes nothing. @param micro prompts of a micro-batch */
async function recordGrpo(
  input: GrpoForecastInput,
  micro: readonly Prompt[],
  generation: (model: Transformer) => Promise<void>,
): Promise<FakeRun> {
  const { recipe, batches } = input;
  const run = fakeRun(input);
  const { model, record, optimizer } = run;
  try {
    const reference = recipe.beta === 0 ? null : referenceOf(model, input.continued);
    await generation(model);
    const logps = new Float32Array(recipe.max_completion_length);
    const sequences = micro.map(
      (prompt): GrpoSequence => ({
        prompt_ids: prompt.prompt_ids,
        images: blankImages(model, prompt),
        completion_ids: new Uint32Array(recipe.max_completion_length),
        advantage: 0,
        old_logps: batches.offPolicy ? logps : null,
        ref_logps: recipe.beta === 0 ? null : logps,
      }),
    );
    if (batches.offPolicy) tokenLogps(record, model, sequences, recipe).catch(() => {});
    if (reference) tokenLogps(record, reference, sequences, recipe).catch(() => {});
    record.submit();
    const active = batches.size * recipe.max_completion_length;
    const entropy_coef = new EntropyControl(recipe).enabled ? 1 : null;
    const buffer = { generation: 0, sequences: [], active };
    const options = lossOptions(recipe, batches, buffer, 1, { step: 0, micro: 0, entropy_coef });
    grpoObjective(record, model, sequences, options).catch(() => {}); // its numbers come from nowhere
    update(record, model.store!, optimizer, { step: 0, learning_rate: 0, max_grad_norm: 1 });
  } catch (error) {
    throw withAdvice(error, "max_completion_length");
  }
  return run;
}

/** Prompts of the generation batch and of the micro-batch with the most prompt tokens. */
function largest({ recipe, batches, data: { train } }: GrpoForecastInput): { batch: Prompt[]; micro: Prompt[] } {
  let [batch, micro]: Prompt[][] = [[], []];
  const sum = (prompts: readonly Prompt[]) => lengthsOf(prompts).reduce((a, b) => a + b, 0);
  const steps = Math.min(batches.max_steps, EPOCHS * batches.stepsPerEpoch);
  let generation = -1;
  let drawn: Prompt[] = [];
  for (let step = 0; step < steps; step++) {
    for (const at of batches.step(step)) {
      if (at.generation !== generation) {
        generation = at.generation;
        const prompts = batches.promptsOf(generation).map((row) => train[row]);
        drawn = prompts.flatMap((row) => new Array<Prompt>(recipe.num_generations).fill(row));
        if (Math.max(...lengthsOf(drawn)) > Math.max(0, ...lengthsOf(batch))) batch = drawn;
      }
      const slice = batches.slice(at).map((place) => drawn[place]);
      if (sum(slice) > sum(micro)) micro = slice;
    }
  }
  return { batch, micro };
}
