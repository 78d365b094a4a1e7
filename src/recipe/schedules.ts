import { RecipeError } from "../errors.ts";
import { show } from "../text/show.ts";
import type { FieldValue } from "./field.ts";

/** A parameter of a schedule. */
interface Parameter {
  /** words that it may be; absent: a number */
  words?: readonly string[];
  whole?: boolean;
  min?: number;
  max?: number;
  needed?: boolean;
}

const cycles = { min: 0 };
const ramp = { words: ["linear", "cosine", "1-sqrt"] };

/** What `lr_scheduler_kwargs` may hold for each `lr_scheduler_type`, under transformers' names. */
const PARAMETERS = {
  linear: {},
  cosine: { num_cycles: cycles },
  cosine_with_restarts: { num_cycles: cycles },
  polynomial: { lr_end: { min: 0 }, power: { min: 0 } },
  constant: {},
  constant_with_warmup: {},
  inverse_sqrt: { timescale: { whole: true, min: 1 } },
  reduce_lr_on_plateau: {
    mode: { words: ["min", "max"] },
    factor: { min: 0, max: 1 },
    patience: { whole: true, min: 0 },
    threshold: { min: 0 },
    threshold_mode: { words: ["rel", "abs"] },
    cooldown: { whole: true, min: 0 },
    min_lr: { min: 0 },
    eps: { min: 0 },
  },
  cosine_with_min_lr: { min_lr: { min: 0 }, min_lr_rate: { min: 0, max: 1 }, num_cycles: cycles },
  cosine_warmup_with_min_lr: {
    min_lr: { min: 0 },
    min_lr_rate: { min: 0, max: 1 },
    warmup_lr_rate: { min: 0, max: 1 },
    num_cycles: cycles,
  },
  warmup_stable_decay: {
    num_decay_steps: { whole: true, min: 0, needed: true },
    num_stable_steps: { whole: true, min: 0 },
    warmup_type: ramp,
    decay_type: ramp,
    min_lr_ratio: { min: 0, max: 1 },
    num_cycles: cycles,
  },
} as const satisfies Record<string, Record<string, Parameter>>;

/** transformers' `lr_scheduler_type`. */
export type SchedulerType = keyof typeof PARAMETERS;
/** Its names, in the order of help. */
export const schedulerTypes = Object.keys(PARAMETERS) as [SchedulerType, ...SchedulerType[]];

/** The same for help. */
export const schedulerHelp = Object.entries(PARAMETERS)
  .filter(([, parameters]) => Object.keys(parameters).length > 0)
  .map(([type, parameters]) => `${type}: ${Object.keys(parameters).join(", ")}`)
  .join("; ");

/**
 * The rules of a recipe's schedule. Reads the values of `lr_scheduler_kwargs` in place.
 *
 * @param notes gets what is allowed and changes nothing
 * @throws {RecipeError} parameters that the schedule does not have, needs, or cannot use
 */
export function checkSchedule(recipe: Record<string, FieldValue>, notes: string[]): void {
  const type = recipe.lr_scheduler_type as SchedulerType;
  const known: Record<string, Parameter> = PARAMETERS[type];
  const given = (recipe.lr_scheduler_kwargs ?? {}) as Record<string, unknown>;
  const read: Record<string, number | string> = {};
  for (const [key, value] of Object.entries(given)) {
    if (value === null) continue;
    if (!Object.hasOwn(known, key)) {
      const names = Object.keys(known);
      const may = names.length > 0 ? `takes ${names.join(", ")}` : "takes none";
      throw new RecipeError(`lr_scheduler_kwargs of ${type} ${may}, got ${show(key)}`);
    }
    read[key] = readParameter(key, value, known[key]);
  }
  const missing = Object.keys(known).find((key) => known[key].needed && !(key in read));
  if (missing) throw new RecipeError(`${type} needs ${missing} in lr_scheduler_kwargs, got ${show(given)}`);
  if ("min_lr_rate" in known && "min_lr" in read === "min_lr_rate" in read) {
    throw new RecipeError(`${type} needs either min_lr or min_lr_rate in lr_scheduler_kwargs, got ${show(given)}`);
  }
  if (type === "polynomial" && !((recipe.learning_rate as number) > Number(read.lr_end ?? 1e-7))) {
    throw new RecipeError(
      `polynomial needs learning_rate ${recipe.learning_rate} to be above lr_end ${read.lr_end ?? 1e-7}`,
    );
  }
  if (type === "reduce_lr_on_plateau") {
    if (recipe.eval_strategy === "no") {
      throw new RecipeError("reduce_lr_on_plateau needs eval_strategy steps or epoch, got no: it goes by evaluations");
    }
    if (recipe.warmup_steps) notes.push("warmup_steps is ignored: reduce_lr_on_plateau has no warm-up");
  }
  if (recipe.lr_scheduler_kwargs !== null) recipe.lr_scheduler_kwargs = read;
}

function readParameter(key: string, value: unknown, { words, whole, min, max }: Parameter): number | string {
  if (words) {
    if (words.includes(value as string)) return value as string;
    throw new RecipeError(`lr_scheduler_kwargs.${key} must be one of ${words.join(", ")}, got ${show(value)}`);
  }
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  const fits =
    typeof number === "number" &&
    Number.isFinite(number) &&
    number >= (min ?? number) &&
    number <= (max ?? number) &&
    (!whole || Number.isInteger(number));
  if (fits) return number;
  const kind = whole ? "a whole number" : "a number";
  const bound = max !== undefined ? ` from ${min} to ${max}` : ` of at least ${min}`;
  throw new RecipeError(`lr_scheduler_kwargs.${key} must be ${kind}${bound}, got ${show(value)}`);
}
