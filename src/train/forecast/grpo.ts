import type { Gpu } from "../../gpu/device.ts";
import { fakeGpu } from "../../gpu/fake-device.ts";
import type { Kernel } from "../../gpu/program.ts";
import { gradNorm } from "../../kernels/optimizer/grad-norm.ts";
import { parameterCount } from "../../model/architectures/tensors.ts";
import { buildModel } from "../../model/build.ts";
import { recordGeneration } from "../../model/generate/foresee.ts";
import { generate } from "../../model/generate/generate.ts";
import type { Transformer } from "../../model/transformer.ts";
import type { GrpoRecipe } from "../../recipe/recipe.ts";
import type { GrpoPlan } from "../grpo/batches.ts";
import { lossOptions } from "../grpo/fill-buffer.ts";
import { grpoObjective, tokenLogps } from "../grpo/objective.ts";
import { type GrpoData, slotsFor } from "../grpo/rollout.ts";
import type { GrpoSequence } from "../grpo/sequences.ts";
import { Optimizer } from "../optimizer.ts";
import { type ForecastInput, type MemoryForecast, shallow, withAdvice } from "./sft.ts";

/** Epochs that are looked through for the largest micro-batch. */
const EPOCHS = 2;

type Input = Omit<ForecastInput, "steps" | "evaluation">;

/**
 * Forecasts the memory of a GRPO run before anything is allocated, by recording its largest generation batch and
 * micro-batch on a device that only counts. Completions are taken to be max_completion_length long.
 */
export async function forecastGrpo(
  input: Input,
  recipe: GrpoRecipe,
  plan: GrpoPlan,
  data: Pick<GrpoData, "train">,
): Promise<MemoryForecast> {
  const { batch, micro } = largest(recipe, plan, data);
  const { gpu, model } = await recordGrpo(input, recipe, plan, micro, async (model) => {
    const longest = Math.max(...batch) + recipe.max_completion_length;
    const prompts = new Map(batch.map((length) => [length, new Array<number>(length).fill(0)]));
    await generate(
      model,
      batch.map((length, sequence) => ({ prompt_ids: prompts.get(length)!, sequence })),
      {
        ...recipe,
        min_p: recipe.min_p ?? 0,
        max_new_tokens: recipe.max_completion_length,
        eos_token_ids: [],
        seed: 0,
        slots: slotsFor(model, batch.length, longest),
        stop: () => 1, // one block tells
      },
    );
  });
  const { peak, peakByKind } = gpu.pool.ledger;
  return {
    peak,
    byKind: peakByKind,
    trainable: model.store!.count,
    parameters: parameterCount(input.config),
    tokens: micro.reduce((sum, length) => sum + length + recipe.max_completion_length, 0),
  };
}

/** What a GRPO run will have compiled after its first steps. */
export async function kernelsOfGrpo(
  input: Input,
  recipe: GrpoRecipe,
  plan: GrpoPlan,
  data: Pick<GrpoData, "train">,
): Promise<Kernel[]> {
  const { batch, micro } = largest(recipe, plan, data);
  const { temperature, top_k, top_p, min_p, repetition_penalty, max_completion_length: max_new_tokens } = recipe;
  const slots = slotsFor(input, batch.length, Math.max(...batch) + max_new_tokens);
  const sampling = { temperature, top_k, top_p, min_p: min_p ?? 0, repetition_penalty };
  const shallower = { ...input, config: shallow(input.config) };
  const { gpu } = await recordGrpo(shallower, recipe, plan, micro, (model) =>
    recordGeneration(model, { ...sampling, slots, prompts: batch, max_new_tokens }),
  );
  return gpu.programs.kernels;
}

/** One generation batch and one step, on a device that computes nothing. @param micro prompt lengths of a micro-batch */
async function recordGrpo(
  { config, trained, dtypeOf, optimizer, adapter }: Input,
  recipe: GrpoRecipe,
  plan: GrpoPlan,
  micro: readonly number[],
  generation: (model: Transformer) => Promise<void>,
): Promise<{ gpu: Gpu; model: Transformer }> {
  const gpu = fakeGpu(adapter);
  const { model } = buildModel(gpu, config, trained, dtypeOf);
  model.gradient_checkpointing = recipe.gradient_checkpointing;
  const state = new Optimizer(gpu, model.store!, optimizer);
  const record = gpu.recorder();
  try {
    await generation(model);
    const logps = new Float32Array(recipe.max_completion_length);
    const sequences = micro.map(
      (length): GrpoSequence => ({
        prompt_ids: new Uint32Array(length),
        completion_ids: new Uint32Array(recipe.max_completion_length),
        advantage: 0,
        old_logps: plan.offPolicy ? logps : null,
        ref_logps: recipe.beta === 0 ? null : logps,
      }),
    );
    if (plan.offPolicy) tokenLogps(record, model, sequences, recipe).catch(() => {});
    if (recipe.beta !== 0) tokenLogps(record, model.withoutAdapter(), sequences, recipe).catch(() => {});
    record.submit();
    const active = plan.size * recipe.max_completion_length;
    const options = lossOptions(recipe, plan, { generation: 0, sequences: [], active }, 1, 0, 0);
    grpoObjective(record, model, sequences, options).catch(() => {}); // its numbers come from nowhere
    record.scope(() => state.update(record, gradNorm(record, [model.store!.grads], 1), 0, 1));
    record.submit();
  } catch (error) {
    throw withAdvice(error, "max_completion_length");
  }
  return { gpu, model };
}

/** Prompt lengths of the generation batch and of the micro-batch with the most prompt tokens. */
function largest(
  recipe: GrpoRecipe,
  plan: GrpoPlan,
  { train }: Pick<GrpoData, "train">,
): { batch: number[]; micro: number[] } {
  let [batch, micro]: number[][] = [[], []];
  const sum = (lengths: readonly number[]) => lengths.reduce((a, b) => a + b, 0);
  const steps = Math.min(plan.max_steps, EPOCHS * plan.stepsPerEpoch);
  let generation = -1;
  let lengths: number[] = [];
  for (let step = 0; step < steps; step++) {
    for (const at of plan.step(step)) {
      if (at.generation !== generation) {
        generation = at.generation;
        const prompts = plan.promptsOf(generation).map((row) => train[row].prompt_ids.length);
        lengths = prompts.flatMap((length) => new Array<number>(recipe.num_generations).fill(length));
        if (Math.max(...lengths) > Math.max(0, ...batch)) batch = lengths;
      }
      const slice = plan.slice(at).map((place) => lengths[place]);
      if (sum(slice) > sum(micro)) micro = slice;
    }
  }
  return { batch, micro };
}
