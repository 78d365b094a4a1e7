import { RecipeError } from "../errors.ts";
import { isObject } from "../text/json.ts";
import { show } from "../text/show.ts";
import { type Field, type FieldValue, type Method, methods } from "./field.ts";
import { dataFields } from "./fields/data.ts";
import { dpoFields } from "./fields/dpo.ts";
import { evaluatedFields } from "./fields/evaluated.ts";
import { grpoFields } from "./fields/grpo.ts";
import { objectiveFields } from "./fields/objective.ts";
import { peftFields } from "./fields/peft.ts";
import { rewardFields } from "./fields/rewards.ts";
import { runFields } from "./fields/run.ts";
import { savingFields } from "./fields/saving.ts";
import { sftFields } from "./fields/sft.ts";
import { ignoredNames, isOff, isSpecificTo, nearestName, oldNames, refusedNames } from "./names.ts";
import { checkRecipe } from "./rules.ts";
import { readValue } from "./values.ts";

export { type Field, type FieldValue, type Group, groups, type Method, methods } from "./field.ts";
export { nearestName } from "./names.ts";
export { generationOf } from "./rules.ts";

const table = [
  ...dataFields,
  ...peftFields,
  ...sftFields,
  ...grpoFields,
  ...objectiveFields,
  ...dpoFields,
  ...rewardFields,
  ...runFields,
  ...evaluatedFields,
  ...savingFields,
] as const;
type Row = (typeof table)[number];

/** Every option, in the order of help and docs/options.md. */
export const fields: readonly Field[] = table;

type OfMethod<F, M extends Method> = F extends { methods: readonly (infer N)[] } ? (M extends N ? F : never) : never;
type TypeOf<F> = F extends { type: "boolean" }
  ? boolean
  : F extends { type: "integer" | "number" }
    ? number
    : F extends { type: "choice"; choices: readonly (infer C)[] }
      ? C
      : F extends { type: "list"; of: "number"; byName: true }
        ? readonly number[] | Readonly<Record<string, readonly number[]>>
        : F extends { type: "list"; of: "number" }
          ? readonly number[]
          : F extends { type: "list"; words: readonly (infer W)[] }
            ? W | readonly string[]
            : F extends { type: "list" }
              ? readonly string[]
              : F extends { type: "object" }
                ? { readonly [key: string]: unknown }
                : F extends { type: "mappings" }
                  ? readonly { readonly [key: string]: unknown }[]
                  : F extends { type: "toggle" }
                    ? boolean | string
                    : string;

/** The type of a complete recipe of a method, derived from the table. */
export type Recipe<M extends Method> = {
  readonly [F in OfMethod<Row, M> as F["name"]]: TypeOf<F> | (F extends { nullable: true } ? null : never);
};
/** A complete recipe for SFT: every field has a value. */
export type SftRecipe = Recipe<"sft">;
/** A complete recipe for GRPO: every field has a value. */
export type GrpoRecipe = Recipe<"grpo">;
/** A complete recipe for DPO: every field has a value. */
export type DpoRecipe = Recipe<"dpo">;

/** A parsed recipe, with notes on old names and ignored names. */
export interface ParsedRecipe<M extends Method> {
  recipe: Recipe<M>;
  notes: string[];
}

/** The fields of a method, in order, with that method's overrides. */
export function fieldsOf(method: Method): Field[] {
  return fields
    .filter((field) => field.methods.includes(method))
    .map((field) => ({ ...field, ...field.differs?.[method] }));
}

/** The field of that name with the method's overrides, or null. */
export function fieldOf(name: string, method: Method): Field | null {
  return fieldsOf(method).find((field) => field.name === name) ?? null;
}

/** Every name that this method's recipes may use: fields and old names. */
export function namesOf(method: Method): string[] {
  const own = fieldsOf(method).map((field) => field.name);
  return [...own, ...oldNames.filter((old) => own.includes(old.field)).map((old) => old.name)];
}

/** Another method that has this name, if `method` does not; else null. */
export function otherMethodOf(name: string, method: Method): Method | null {
  const knows = (other: Method) => namesOf(other).includes(name) || isSpecificTo(name, other);
  return methods.find((other) => other !== method && knows(other)) ?? null;
}

/**
 * Reads a recipe from an object: checks names, types and bounds, and fills in defaults.
 *
 * @param input names and values; values may be text, as flags are
 * @throws {RecipeError} `lora_r must be an integer of at least 1, got 0`
 * @throws {RecipeError} `Unknown recipe key "lora_rank": did you mean lora_r?`
 */
export function parseRecipe<M extends Method>(input: unknown, method: M): ParsedRecipe<M> {
  const notes: string[] = [];
  return { recipe: complete(canonical(input, method, notes), method, notes), notes };
}

/** The steps of a ratio field: a value below 1 is a share of all steps, rounded up as in transformers; others are steps. */
export function resolveSteps(value: number, totalSteps: number): number {
  return value >= 1 ? value : Math.ceil(value * totalSteps);
}

/**
 * Maps names to fields and old names to new names, reads the values, and notes or rejects all other names. Handles one layer: a
 * file or the flags.
 */
export function canonical(
  input: unknown,
  method: Method,
  notes: string[],
  where: (key: string | null) => string = () => "",
): Record<string, FieldValue> {
  if (!isObject(input)) {
    throw new RecipeError(`${where(null)}A recipe must be a mapping of names to values, got ${show(input)}`);
  }
  const values: Record<string, FieldValue> = {};
  const from = new Map<string, string>();
  for (const [key, value] of Object.entries(input)) {
    try {
      const old = oldNames.find(({ name }) => name === key);
      const field = fieldOf(old?.field ?? key, method);
      if (field === null) {
        judgeOther(key, value, method, notes);
        continue;
      }
      const given = old?.convert ? old.convert(value) : value;
      if (old) {
        if (given === undefined || (given === null && !field.nullable)) continue;
        notes.push(`${key} is an old name of ${field.name}`);
      }
      // as warmup_steps, a ratio of 1 would mean one step
      if (key === "warmup_ratio" && Number(given) >= 1) {
        throw new RecipeError(`warmup_ratio must be a number of at least 0 and below 1, got ${show(value)}`);
      }
      const read = readValue(field, given);
      const remark = field.noted?.[String(read)];
      if (remark) notes.push(`${key} is ${show(read)}: ${remark}`);
      const other = from.get(field.name);
      if (other !== undefined && !sameValue(read, values[field.name])) {
        throw new RecipeError(
          `${other} and ${key} name the same field but have different values: ${show(values[field.name])} and ${show(read)}`,
        );
      }
      values[field.name] = read;
      from.set(field.name, key);
    } catch (error) {
      if (error instanceof RecipeError) throw new RecipeError(`${where(key)}${error.message}`);
      throw error;
    }
  }
  return values;
}

/**
 * Handles a name that is not a field: adds a note if the name has no effect, and throws if Qwench cannot do what it asks for.
 */
function judgeOther(key: string, value: unknown, method: Method, notes: string[]): void {
  const ignored = ignoredNames(method);
  if (Object.hasOwn(ignored, key)) {
    const { note, only } = ignored[key];
    if (only) {
      const allowed = (one: unknown) => String(one) === String(value) || (value !== true && Number(value) === one);
      if (value === null || value === undefined || only.some(allowed)) return;
      throw new RecipeError(`${key} must be ${only.join(" or ")}, got ${show(value)}: ${note}`);
    }
    if (!isOff(value)) notes.push(`${key} is ignored: ${note}`);
    return;
  }
  const refused = refusedNames(method);
  if (Object.hasOwn(refused, key)) {
    if (isOff(value)) return;
    throw new RecipeError(`${key} cannot be used (got ${show(value)}): ${refused[key]}`);
  }
  const other = otherMethodOf(key, method);
  const near = nearestName(key, namesOf(method));
  const why = other ? `: it belongs to ${other}, not to ${method}` : near ? `: did you mean ${near}?` : "";
  throw new RecipeError(`Unknown recipe key ${show(key, 64)}${why}`);
}

/** Fills in defaults, then checks the rules that span fields. */
export function complete<M extends Method>(values: Record<string, FieldValue>, method: M, notes: string[]): Recipe<M> {
  const recipe: Record<string, FieldValue> = {};
  for (const field of fieldsOf(method)) {
    const value = Object.hasOwn(values, field.name) ? values[field.name] : field.default;
    recipe[field.name] = Array.isArray(value) ? [...value] : value;
  }
  checkRecipe(recipe, method, notes);
  return recipe as Recipe<M>;
}

export function sameValue(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
