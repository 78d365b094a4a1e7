import { resolveSteps, type SftRecipe } from "../recipe/recipe.ts";

/** Fields of a recipe that decide when a run logs, evaluates and saves, by TRL's names. */
export type DueFields = Pick<
  SftRecipe,
  "logging_steps" | "eval_strategy" | "eval_steps" | "save_strategy" | "save_steps"
> &
  Partial<Pick<SftRecipe, "logging_first_step" | "eval_delay">>;

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
  const { eval_strategy, save_strategy, logging_first_step = false, eval_delay = 0 } = recipe;
  const first = eval_strategy === "epoch" ? eval_delay * stepsPerEpoch : eval_delay;
  const log = resolveSteps(recipe.logging_steps, max_steps);
  const evaluate =
    eval_strategy === "epoch" ? stepsPerEpoch : resolveSteps(recipe.eval_steps ?? recipe.logging_steps, max_steps);
  const save = save_strategy === "epoch" ? stepsPerEpoch : resolveSteps(recipe.save_steps, max_steps);
  return (done) => {
    const last = done === max_steps;
    return {
      log: done % log === 0 || last || (logging_first_step && done === 1),
      evaluate: eval_strategy !== "no" && ((done % evaluate === 0 && done >= first) || last),
      save: save_strategy !== "no" && (done % save === 0 || last),
      last,
    };
  };
}
