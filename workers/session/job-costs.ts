import type { Job, PhasePlan } from "../../src/client/types.ts";
import { phaseRecipe } from "./recipes.ts";

/** Largest answer in tokens if no phase sets a completion length. */
const ANSWER_TOKENS = 256;

/** The problems that a job solves before and after its phases, for its time. @param prompt tokens of a prompt */
export function heldOutOf(job: Job, prompt: number) {
  if (!job.evaluate) return null;
  return {
    problems: job.evaluate.problems,
    times: job.phases.length + 1,
    prompt: Math.max(1, prompt),
    max_new_tokens: answerTokens(job),
  };
}

/** Largest answer of a held-out problem in tokens: the last phase's completion length, if one has any. */
export function answerTokens(job: Job): number {
  const lengths = job.phases.flatMap((_, i) => {
    const { recipe } = phaseRecipe(job, i);
    return "max_completion_length" in recipe ? [recipe.max_completion_length] : [];
  });
  return lengths.at(-1) ?? ANSWER_TOKENS;
}

/** Checkpoints that lie in storage at once: the kept ones, and the one that is being written. */
const CHECKPOINTS = 3;

/** Bytes that a job keeps in storage beside downloads: for each phase its adapter, and its checkpoints with the optimizer's state. */
export function diskOf(job: Job, phases: readonly PhasePlan[]): number {
  const adapters = phases.reduce((sum, { trainable }) => sum + 4 * trainable, 0);
  const checkpoint = (phase: PhasePlan) => 4 * phase.trainable + (phase.memory.byKind.optimizer ?? 0);
  const largest = phases.reduce((most, phase) => Math.max(most, checkpoint(phase)), 0);
  const earlier = Math.max(0, job.phases.length - 1) * (CHECKPOINTS - 1) * largest;
  return adapters + CHECKPOINTS * largest + earlier;
}
