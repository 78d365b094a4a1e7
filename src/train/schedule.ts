import { RecipeError } from "../errors.ts";

/** The five schedules, under transformers' names. */
export type SchedulerType = "linear" | "cosine" | "constant" | "constant_with_warmup" | "cosine_with_min_lr";

/** `lr_scheduler_kwargs` that the five understand. */
export interface SchedulerKwargs {
  /** cosine: waves over the training, 0.5 = down to zero once */
  num_cycles?: number;
  /** cosine_with_min_lr: the learning rate at the end, or its share of the first one */
  min_lr?: number;
  min_lr_rate?: number;
}

export interface Schedule {
  lr_scheduler_type: SchedulerType;
  learning_rate: number;
  /** steps, resolved: no ratio */
  warmup_steps: number;
  /** optimizer steps in all */
  max_steps: number;
  kwargs?: SchedulerKwargs;
}

/**
 * Learning rate of optimizer step `step`, counted from 0.
 *
 * @see transformers.optimization: get_linear_schedule_with_warmup and its siblings
 */
export function learningRate(
  { lr_scheduler_type: type, learning_rate, warmup_steps, max_steps, kwargs = {} }: Schedule,
  step: number,
): number {
  if (type === "constant") return learning_rate;
  if (step < warmup_steps) return (learning_rate * step) / Math.max(1, warmup_steps);
  if (type === "constant_with_warmup") return learning_rate;
  const progress = (step - warmup_steps) / Math.max(1, max_steps - warmup_steps);
  if (type === "linear") return learning_rate * Math.max(0, (max_steps - step) / Math.max(1, max_steps - warmup_steps));
  const cycles = kwargs.num_cycles ?? 0.5;
  const wave = 0.5 * (1 + Math.cos(Math.PI * cycles * 2 * progress));
  if (type === "cosine") return learning_rate * Math.max(0, wave);
  if (type === "cosine_with_min_lr") {
    const floor = kwargs.min_lr_rate ?? (kwargs.min_lr ?? Number.NaN) / learning_rate;
    if (Number.isNaN(floor))
      throw new RecipeError("cosine_with_min_lr needs lr_scheduler_kwargs with min_lr or min_lr_rate");
    return learning_rate * Math.max(0, wave * (1 - floor) + floor);
  }
  throw new RecipeError(`There is no lr_scheduler_type ${JSON.stringify(type)}`);
}

/** The schedule of a recipe over `max_steps`, warm-up ratio resolved. */
export function scheduleOf(
  recipe: Pick<Schedule, "lr_scheduler_type" | "learning_rate" | "warmup_steps"> & {
    lr_scheduler_kwargs: { readonly [key: string]: unknown } | null;
  },
  max_steps: number,
): Schedule {
  const warmup = recipe.warmup_steps < 1 ? Math.ceil(recipe.warmup_steps * max_steps) : recipe.warmup_steps;
  return {
    lr_scheduler_type: recipe.lr_scheduler_type,
    learning_rate: recipe.learning_rate,
    warmup_steps: warmup,
    max_steps,
    kwargs: (recipe.lr_scheduler_kwargs ?? {}) as Schedule["kwargs"],
  };
}
