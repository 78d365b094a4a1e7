import { RecipeError } from "../errors.ts";
import type { SchedulerType } from "../recipe/schedules.ts";

/** `lr_scheduler_kwargs` of the schedules that are a function of the step. */
interface SchedulerKwargs {
  /** waves over the training: 0.5 = down to zero once; of cosine_with_restarts: restarts */
  num_cycles?: number;
  /** the learning rate at the end, or its share of the first one */
  min_lr?: number;
  min_lr_rate?: number;
  /** cosine_warmup_with_min_lr: the share that warm-up begins at */
  warmup_lr_rate?: number;
  /** polynomial */
  lr_end?: number;
  power?: number;
  /** inverse_sqrt: steps */
  timescale?: number;
  /** warmup_stable_decay */
  num_decay_steps?: number;
  num_stable_steps?: number;
  warmup_type?: Ramp;
  decay_type?: Ramp;
  min_lr_ratio?: number;
}

type Ramp = "linear" | "cosine" | "1-sqrt";

export interface Schedule {
  lr_scheduler_type: SchedulerType;
  learning_rate: number;
  /** in steps; ratios are already resolved */
  warmup_steps: number;
  /** total optimizer steps */
  max_steps: number;
  kwargs?: SchedulerKwargs;
}

/** The share of the learning rate at `step`, from 0. */
type Course = (schedule: Schedule, step: number) => number;

/** The completed share of the steps after the warm-up, from 0. */
const progress = ({ warmup_steps, max_steps }: Schedule, step: number) =>
  (step - warmup_steps) / Math.max(1, max_steps - warmup_steps);

const cosine = (cycles: number, at: number) => 0.5 * (1 + Math.cos(Math.PI * cycles * 2 * at));
const wave: Course = (schedule, step) => cosine(schedule.kwargs?.num_cycles ?? 0.5, progress(schedule, step));

/** The share of the learning rate that a cosine with a floor ends at. */
function floorOf({ lr_scheduler_type, learning_rate, kwargs }: Schedule): number {
  const floor = kwargs?.min_lr_rate ?? (kwargs?.min_lr ?? Number.NaN) / learning_rate;
  if (Number.isNaN(floor))
    throw new RecipeError(`${lr_scheduler_type} needs lr_scheduler_kwargs with min_lr or min_lr_rate`);
  return floor;
}

/** A share between a floor and 1. */
const above = (floor: number, share: number) => Math.max(0, share * (1 - floor) + floor);

/** The courses of the learning rate after its warm-up, under transformers' names. */
const COURSES = {
  linear: ({ warmup_steps, max_steps }, step) =>
    Math.max(0, (max_steps - step) / Math.max(1, max_steps - warmup_steps)),
  cosine: (schedule, step) => Math.max(0, wave(schedule, step)),
  cosine_with_restarts: (schedule, step) => {
    const at = progress(schedule, step);
    return at >= 1 ? 0 : Math.max(0, cosine(0.5, ((schedule.kwargs?.num_cycles ?? 1) * at) % 1));
  },
  cosine_with_min_lr: (schedule, step) => above(floorOf(schedule), wave(schedule, step)),
  // one step ahead of the others: its last step has the floor
  cosine_warmup_with_min_lr: (schedule, step) => above(floorOf(schedule), wave(schedule, step + 1)),
  polynomial: ({ learning_rate, warmup_steps, max_steps, kwargs }, step) => {
    const { lr_end = 1e-7, power = 1 } = kwargs ?? {};
    if (step > max_steps) return lr_end / learning_rate;
    const left = 1 - (step - warmup_steps) / (max_steps - warmup_steps);
    return ((learning_rate - lr_end) * left ** power + lr_end) / learning_rate;
  },
  inverse_sqrt: ({ warmup_steps, kwargs }, step) => {
    const timescale = kwargs?.timescale ?? (warmup_steps || 10_000);
    return 1 / Math.sqrt((step + timescale - warmup_steps) / timescale);
  },
  warmup_stable_decay: ({ warmup_steps, max_steps, kwargs }, step) => {
    const { num_decay_steps: decay = 0, decay_type = "cosine", min_lr_ratio = 0, num_cycles = 0.5 } = kwargs ?? {};
    const stable = kwargs?.num_stable_steps ?? max_steps - warmup_steps - decay;
    const fallen = step - warmup_steps - stable;
    if (fallen < 0) return 1;
    if (fallen >= decay) return min_lr_ratio;
    const at = fallen / Math.max(1, decay);
    const shares = { linear: 1 - at, cosine: cosine(num_cycles, at), "1-sqrt": 1 - Math.sqrt(at) };
    return above(min_lr_ratio, shares[decay_type]);
  },
  constant_with_warmup: () => 1,
  constant: () => 1,
  // what evaluations make of it: see plateau.ts
  reduce_lr_on_plateau: () => 1,
} as const satisfies Record<SchedulerType, Course>;

/** The courses of warm-ups that are no straight line from 0. */
const WARMUPS: Partial<Record<SchedulerType, Course>> = {
  constant: () => 1,
  reduce_lr_on_plateau: () => 1,
  cosine_warmup_with_min_lr: ({ warmup_steps, kwargs }, step) => {
    const from = kwargs?.warmup_lr_rate;
    if (from === undefined) return (step + 1) / Math.max(1, warmup_steps);
    return from + ((1 - from) * step) / Math.max(1, warmup_steps - 1);
  },
  warmup_stable_decay: ({ warmup_steps, kwargs }, step) => {
    const { warmup_type = "linear", min_lr_ratio = 0 } = kwargs ?? {};
    const at = step / Math.max(1, warmup_steps);
    const shares = { linear: at, cosine: 0.5 * (1 - Math.cos(Math.PI * at)), "1-sqrt": 1 - Math.sqrt(1 - at) };
    return above(min_lr_ratio, shares[warmup_type]);
  },
};

/**
 * Learning rate of optimizer step `step`, counted from 0.
 *
 * @see transformers.optimization: get_linear_schedule_with_warmup and its siblings
 */
export function learningRate(schedule: Schedule, step: number): number {
  const { lr_scheduler_type: type, learning_rate, warmup_steps } = schedule;
  if (!Object.hasOwn(COURSES, type)) throw new RecipeError(`There is no lr_scheduler_type ${JSON.stringify(type)}`);
  if (step >= warmup_steps) return learning_rate * COURSES[type](schedule, step);
  const rise = WARMUPS[type];
  return rise ? learning_rate * rise(schedule, step) : (learning_rate * step) / Math.max(1, warmup_steps);
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
