import type { TokenizedPair } from "../../data/preferences.ts";
import type { Kernel } from "../../gpu/program.ts";
import type { DpoRecipe } from "../../recipe/recipe.ts";
import { tokensOf } from "../dpo/batches.ts";
import { referenceBatches } from "../dpo/dpo.ts";
import { dpoObjective, referenceLogps } from "../dpo/objective.ts";
import type { DpoPair } from "../dpo/pairs.ts";
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

export interface DpoForecastInput extends ForecastModel {
  recipe: DpoRecipe;
  /** the run's steps, with the largest: pairs of each micro-batch */
  steps: readonly (readonly (readonly TokenizedPair[])[])[];
  /** the largest batch of an evaluation, or null without one */
  evaluation: readonly TokenizedPair[] | null;
  /** whether training continues from an adapter, of which a copy is kept */
  continued: boolean;
}

/** Forecasts a DPO run's memory before anything is allocated, by recording its largest step on a device that only counts. */
export function forecastDpo(input: DpoForecastInput): MemoryForecast {
  const sizes = input.steps.flat().map((pairs) => pairs.reduce((sum, pair) => sum + tokensOf(pair), 0));
  return forecastFrom(recordDpo(input), input.config, Math.max(...sizes));
}

/** The kernels that a DPO run compiles in its first steps. */
export function kernelsOfDpo(input: DpoForecastInput): Kernel[] {
  return recordDpo({ ...input, config: shallow(input.config) }).gpu.programs.kernels;
}

const KNOWN = { ref_chosen_logps: 0, ref_rejected_logps: 0 };

function recordDpo(input: DpoForecastInput): FakeRun {
  const run = fakeRun(input);
  const { model, optimizer, record } = run;
  const { recipe, steps, evaluation, continued } = input;
  const early = recipe.precompute_ref_log_probs;
  const nowhere = () => {}; // the fake device returns no numbers
  try {
    const reference = early ? null : referenceOf(model, continued);
    const ready = (pairs: readonly TokenizedPair[]): DpoPair[] =>
      pairs.map((pair) => ({ ...pair, ...(early && KNOWN), seen: blankImages(model, pair) }));
    if (early) {
      const largest = repeated(steps.flat().concat(evaluation ? [evaluation] : []), referenceBatches(recipe));
      const seen = largest.map((pair) => ({ ...pair, seen: blankImages(model, pair) }));
      referenceLogps(record, model, seen).catch(nowhere);
      record.submit();
    }
    for (const micro of steps) {
      for (const pairs of micro) {
        const training = { micros: micro.length, dropoutSeed: 0 };
        dpoObjective(record, model, reference, ready(pairs), recipe, training).catch(nowhere);
      }
      update(record, model.store!, optimizer, { step: 0, learning_rate: 0, max_grad_norm: 1 }).catch(nowhere);
    }
    if (evaluation) dpoObjective(record, model, reference, ready(evaluation), recipe, null).catch(nowhere);
  } catch (error) {
    throw withAdvice(error, "max_length");
  }
  return run;
}

/** The pairs of a reference pass, all as long as the longest. */
function repeated(batches: readonly (readonly TokenizedPair[])[], sizes: { train: number; eval: number }) {
  const longest = batches.flat().reduce((most, pair) => (tokensOf(pair) > tokensOf(most) ? pair : most));
  return new Array<TokenizedPair>(Math.max(sizes.train, sizes.eval)).fill(longest);
}

/**
 * Micro-batches of `pairs` pairs whose completions, with their prompts, are `length` tokens each: the worst case of a
 * recipe.
 */
export function worstPairs(pairs: number, length: number): TokenizedPair[] {
  const completion = { input_ids: new Int32Array(length), prompt: 1 };
  return new Array<TokenizedPair>(pairs).fill({ chosen: completion, rejected: completion });
}
