import { resolveSteps, type SftRecipe } from "../recipe/recipe.ts";

/** Fields of a recipe that decide when a run logs, evaluates and saves, by TRL's names. */
export type DueFields = Pick<
  SftRecipe,
  "logging_steps" | "eval_strategy" | "eval_steps" | "save_strategy" | "save_steps"
>;

/** The actions due after a step, by its number. All are due after the last step. */
export interface Due {
  log: boolean;
  evaluate: boolean;
  save: boolean;
  last: boolean;
}

/**
 * Decides when a recipe logs, evaluates and saves.
 *
 * @returns a function: the actions due after `done` optimizer steps
 */
export function dueOf(
  recipe: DueFields,
  { max_steps, stepsPerEpoch }: { max_steps: number; stepsPerEpoch: number },
): (done: number) => Due {
  const { eval_strategy, save_strategy } = recipe;
  const log = resolveSteps(recipe.logging_steps, max_steps);
  const evaluate =
    eval_strategy === "epoch" ? stepsPerEpoch : resolveSteps(recipe.eval_steps ?? recipe.logging_steps, max_steps);
  const save = save_strategy === "epoch" ? stepsPerEpoch : resolveSteps(recipe.save_steps, max_steps);
  return (done) => {
    const last = done === max_steps;
    return {
      log: done % log === 0 || last,
      evaluate: eval_strategy !== "no" && (done % evaluate === 0 || last),
      save: save_strategy !== "no" && (done % save === 0 || last),
      last,
    };
  };
}
