import { RecipeError } from "../errors.ts";

/** Supported `lr_scheduler_kwargs`. */
interface SchedulerKwargs {
  /** cosine: periods over the training; 0.5 = down to zero once */
  num_cycles?: number;
  /** cosine_with_min_lr: the final learning rate, or its ratio to the initial one */
  min_lr?: number;
  min_lr_rate?: number;
}

export interface Schedule {
  lr_scheduler_type: SchedulerType;
  learning_rate: number;
  /** in steps; ratios are already resolved */
  warmup_steps: number;
  /** total optimizer steps */
  max_steps: number;
  kwargs?: SchedulerKwargs;
}

/** The factor of the learning rate at `step`, from 0, after the warm-up. */
type Course = (schedule: Schedule, step: number) => number;

/** The completed share of the steps after the warm-up, from 0. */
const progress = ({ warmup_steps, max_steps }: Schedule, step: number) =>
  (step - warmup_steps) / Math.max(1, max_steps - warmup_steps);

const wave: Course = (schedule, step) =>
  0.5 * (1 + Math.cos(Math.PI * (schedule.kwargs?.num_cycles ?? 0.5) * 2 * progress(schedule, step)));

/** The learning-rate schedules after the warm-up, under transformers' names. `constant` needs none. */
const COURSES = {
  linear: ({ warmup_steps, max_steps }, step) =>
    Math.max(0, (max_steps - step) / Math.max(1, max_steps - warmup_steps)),
  cosine: (schedule, step) => Math.max(0, wave(schedule, step)),
  cosine_with_min_lr: (schedule, step) => {
    const { learning_rate, kwargs } = schedule;
    const floor = kwargs?.min_lr_rate ?? (kwargs?.min_lr ?? Number.NaN) / learning_rate;
    if (Number.isNaN(floor))
      throw new RecipeError("cosine_with_min_lr needs lr_scheduler_kwargs with min_lr or min_lr_rate");
    return Math.max(0, wave(schedule, step) * (1 - floor) + floor);
  },
  constant_with_warmup: () => 1,
} as const satisfies Record<string, Course>;

type SchedulerType = keyof typeof COURSES | "constant";

/**
 * Learning rate of optimizer step `step`, counted from 0.
 *
 * @see transformers.optimization: get_linear_schedule_with_warmup and its siblings
 */
export function learningRate(schedule: Schedule, step: number): number {
  const { lr_scheduler_type: type, learning_rate, warmup_steps } = schedule;
  if (type === "constant") return learning_rate;
  if (step < warmup_steps) return (learning_rate * step) / Math.max(1, warmup_steps);
  if (!Object.hasOwn(COURSES, type)) throw new RecipeError(`There is no lr_scheduler_type ${JSON.stringify(type)}`);
  return learning_rate * COURSES[type](schedule, step);
}

/** A recipe's settings for its schedule. */
export type ScheduleFields = Pick<Schedule, "lr_scheduler_type" | "learning_rate" | "warmup_steps"> & {
  lr_scheduler_kwargs: { readonly [key: string]: unknown } | null;
};

/** The schedule of a recipe over `max_steps`, with the warm-up ratio resolved to steps. */
export function scheduleOf(recipe: ScheduleFields, max_steps: number): Schedule {
  const warmup = recipe.warmup_steps < 1 ? Math.ceil(recipe.warmup_steps * max_steps) : recipe.warmup_steps;
  return {
    lr_scheduler_type: recipe.lr_scheduler_type,
    learning_rate: recipe.learning_rate,
    warmup_steps: warmup,
    max_steps,
    kwargs: (recipe.lr_scheduler_kwargs ?? {}) as Schedule["kwargs"],
  };
}
