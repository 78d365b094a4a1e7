import { isMap, isScalar, LineCounter, parseDocument, stringify } from "yaml";
import { RecipeError } from "./errors.ts";
import { type Field, type FieldValue, groups, type Method } from "./recipe-field.ts";
import { dataFields } from "./recipe-fields-data.ts";
import { runFields } from "./recipe-fields-run.ts";
import { ignoredNames, isOff, nearestName, oldNames, refusedNames } from "./recipe-names.ts";
import { readValue, show } from "./recipe-values.ts";

export { type Field, type FieldValue, type Group, groups, type Method, methods } from "./recipe-field.ts";
export { nearestName } from "./recipe-names.ts";

const table = [...dataFields, ...runFields] as const;
type Row = (typeof table)[number];

/** Every option, once, in the order of help and README. */
export const fields: readonly Field[] = table;

type OfMethod<F, M extends Method> = F extends { methods: readonly (infer N)[] } ? (M extends N ? F : never) : never;
type TypeOf<F> = F extends { type: "boolean" }
  ? boolean
  : F extends { type: "integer" | "number" }
    ? number
    : F extends { type: "choice"; choices: readonly (infer C)[] }
      ? C
      : F extends { type: "list"; words: readonly (infer W)[] }
        ? W | readonly string[]
        : F extends { type: "list" }
          ? readonly string[]
          : F extends { type: "object" }
            ? { readonly [key: string]: unknown }
            : F extends { type: "toggle" }
              ? boolean | string
              : string;

/** A whole recipe of a method: every field has a value of its type. Derived from the table. */
export type Recipe<M extends Method> = {
  readonly [F in OfMethod<Row, M> as F["name"]]: TypeOf<F> | (F extends { nullable: true } ? null : never);
};
export type SftRecipe = Recipe<"sft">;

/** A recipe that was read, and what there is to say about it: old names, names that change nothing. */
export interface ParsedRecipe<M extends Method> {
  recipe: Recipe<M>;
  notes: string[];
}

/** The fields of a method, in order. */
export function fieldsOf(method: Method): Field[] {
  return fields.filter((field) => field.methods.includes(method));
}

/** The field of that name, or null. */
export function fieldOf(name: string, method: Method): Field | null {
  return fields.find((field) => field.name === name && field.methods.includes(method)) ?? null;
}

/** What a field is when nobody sets it. */
export function defaultOf(field: Field, method: Method): FieldValue {
  const own = field.defaultFor?.[method];
  return own === undefined ? field.default : own;
}

/** Every name that a recipe of this method may hold: fields and old names. */
export function namesOf(method: Method): string[] {
  return [...fieldsOf(method).map((field) => field.name), ...oldNames.map((old) => old.name)];
}

/**
 * Reads a recipe from an object: known names only, each of its type and within its bounds, defaults for the rest.
 *
 * @param input names and values; values may be text, as flags are
 * @throws {RecipeError} `lora_r must be an integer of at least 1, got 0`
 * @throws {RecipeError} `Unknown recipe key "lora_rank": did you mean lora_r?`
 */
export function parseRecipe<M extends Method>(input: unknown, method: M): ParsedRecipe<M> {
  const notes: string[] = [];
  return { recipe: complete(canonical(input, method, notes), method), notes };
}

/**
 * Reads a recipe from YAML, with flags over it: a flag wins over the file, also where one uses an old name.
 *
 * @param fileName what to call the text in errors, which begin `recipe.yaml:7: `
 * @param overrides names and values that win over the text
 * @throws {RecipeError} also on YAML that cannot be parsed or holds a key twice
 */
export function parseRecipeYaml<M extends Method>(
  text: string,
  fileName: string,
  method: M,
  overrides: unknown = {},
): ParsedRecipe<M> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const problem = document.errors[0];
  if (problem) {
    const { line, col } = lines.linePos(problem.pos[0]);
    throw new RecipeError(`Cannot read ${fileName}:${line}:${col} as YAML: ${problem.message}`);
  }
  const lineOf = new Map<string, number>();
  if (isMap(document.contents)) {
    for (const { key } of document.contents.items) {
      if (isScalar(key) && key.range) lineOf.set(String(key.value), lines.linePos(key.range[0]).line);
    }
  }
  const where = (key: string | null): string => {
    const line = key === null ? undefined : lineOf.get(key);
    return line === undefined ? `${fileName}: ` : `${fileName}:${line}: `;
  };
  let content: unknown;
  try {
    content = document.toJS({ maxAliasCount: 100 }) ?? {};
  } catch (error) {
    throw new RecipeError(`Cannot read ${fileName} as YAML: ${(error as Error).message}`);
  }
  const notes: string[] = [];
  const fromFile = canonical(content, method, notes, where);
  return { recipe: complete({ ...fromFile, ...canonical(overrides, method, notes) }, method), notes };
}

/** Writes the values that differ from the defaults, or from TRL's, grouped as help is; `full` writes all. */
export function formatRecipeYaml<M extends Method>(recipe: Recipe<M>, method: M, full = false): string {
  const blocks: string[] = [];
  for (const group of groups) {
    const values: Record<string, unknown> = {};
    for (const field of fieldsOf(method)) {
      if (field.group !== group) continue;
      const value = (recipe as Record<string, unknown>)[field.name];
      // where our default is not TRL's, silence would mean something else there
      const silent = sameValue(value, defaultOf(field, method)) && field.trlDefault === undefined;
      if (full || !silent) values[field.name] = value;
    }
    if (Object.keys(values).length > 0) blocks.push(`# ${group}\n${stringify(values, { lineWidth: 0 })}`);
  }
  return blocks.join("\n");
}

/** Steps that a field with a ratio means: itself from 1 on, below 1 a share of all steps, rounded up as HF does. */
export function resolveSteps(value: number, totalSteps: number): number {
  return value >= 1 ? value : Math.ceil(value * totalSteps);
}

/** Names to fields, old names to new ones, the rest noted or refused; values read. One layer: a file, or the flags. */
function canonical(
  input: unknown,
  method: Method,
  notes: string[],
  where: (key: string | null) => string = () => "",
): Record<string, FieldValue> {
  if (typeof input !== "object" || input === null || Array.isArray(input)) {
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
        notes.push(`${key} is an old name: ${field.name} is meant`);
      }
      // read as warmup_steps, a ratio of 1 would be one step
      if (key === "warmup_ratio" && Number(given) >= 1) {
        throw new RecipeError(`warmup_ratio must be a number of at least 0 and below 1, got ${show(value)}`);
      }
      const read = readValue(field, given);
      const remark = field.noted?.[String(read)];
      if (remark) notes.push(`${key} is ${show(read)}: ${remark}`);
      const other = from.get(field.name);
      if (other !== undefined && !sameValue(read, values[field.name])) {
        throw new RecipeError(
          `${other} and ${key} are one field with two values: ${show(values[field.name])} and ${show(read)}`,
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

/** A name that is no field: noted when it changes nothing, refused when it asks for what there is not. */
function judgeOther(key: string, value: unknown, method: Method, notes: string[]): void {
  if (Object.hasOwn(ignoredNames, key)) {
    const { note, only } = ignoredNames[key];
    if (only) {
      if (value === null || value === undefined || only.some((allowed) => String(allowed) === String(value))) return;
      throw new RecipeError(`${key} must be ${only.join(" or ")}, got ${show(value)}: ${note}`);
    }
    if (!isOff(value)) notes.push(`${key} is ignored: ${note}`);
    return;
  }
  if (Object.hasOwn(refusedNames, key)) {
    if (isOff(value)) return;
    throw new RecipeError(`${key} cannot be used (got ${show(value)}): ${refusedNames[key]}`);
  }
  const near = nearestName(key, namesOf(method));
  const shown = key.length > 64 ? `${key.slice(0, 61)}…` : key;
  throw new RecipeError(`Unknown recipe key "${shown}"${near ? `: did you mean ${near}?` : ""}`);
}

/** Defaults for what is not set, then the rules that span fields. */
function complete<M extends Method>(values: Record<string, FieldValue>, method: M): Recipe<M> {
  const recipe: Record<string, FieldValue> = {};
  for (const field of fieldsOf(method)) {
    const value = Object.hasOwn(values, field.name) ? values[field.name] : defaultOf(field, method);
    recipe[field.name] = Array.isArray(value) ? [...value] : value;
  }
  checkSchedule(recipe);
  checkBest(recipe);
  if (recipe.packing && recipe.max_length === null) {
    throw new RecipeError("packing needs max_length, the length of a packed row, got null");
  }
  if (!recipe.use_peft && recipe.adapter_name_or_path !== null) {
    throw new RecipeError(
      `adapter_name_or_path needs use_peft: true, got false with ${show(recipe.adapter_name_or_path)}`,
    );
  }
  return recipe as Recipe<M>;
}

function checkSchedule(recipe: Record<string, FieldValue>): void {
  const type = recipe.lr_scheduler_type as string;
  const given = (recipe.lr_scheduler_kwargs ?? {}) as Record<string, unknown>;
  const floors = ["min_lr", "min_lr_rate"];
  const known = type === "cosine_with_min_lr" ? [...floors, "num_cycles"] : type === "cosine" ? ["num_cycles"] : [];
  const read: Record<string, number> = {};
  for (const [key, value] of Object.entries(given)) {
    if (value === null) continue;
    if (!known.includes(key)) {
      const may = known.length > 0 ? `takes ${known.join(", ")}` : "takes none";
      throw new RecipeError(`lr_scheduler_kwargs of ${type} ${may}, got ${show(key)}`);
    }
    const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
    const most = key === "min_lr_rate" ? 1 : Number.MAX_VALUE;
    if (typeof number !== "number" || !(number >= 0 && number <= most)) {
      const bound = key === "min_lr_rate" ? "from 0 to 1" : "of at least 0";
      throw new RecipeError(`lr_scheduler_kwargs.${key} must be a number ${bound}, got ${show(value)}`);
    }
    read[key] = number;
  }
  if (type === "cosine_with_min_lr" && floors.filter((key) => key in read).length !== 1) {
    throw new RecipeError(
      `cosine_with_min_lr needs either min_lr or min_lr_rate in lr_scheduler_kwargs, got ${show(given)}`,
    );
  }
  if (recipe.lr_scheduler_kwargs !== null) recipe.lr_scheduler_kwargs = read;
}

/** The best checkpoint can only be loaded if every evaluation that may be best left one; the rule is transformers'. */
function checkBest(recipe: Record<string, FieldValue>): void {
  if (!recipe.load_best_model_at_end) return;
  if (recipe.eval_strategy === "no" || recipe.eval_strategy !== recipe.save_strategy) {
    throw new RecipeError(
      `load_best_model_at_end needs eval_strategy and save_strategy to be the same and not no, got ` +
        `${recipe.eval_strategy} and ${recipe.save_strategy}`,
    );
  }
  const save = recipe.save_steps as number;
  const evaluate = (recipe.eval_steps ?? recipe.logging_steps) as number;
  const both = save >= 1 === evaluate >= 1;
  const times = save / evaluate;
  if (recipe.eval_strategy === "steps" && !(both && Math.abs(times - Math.round(times)) < 1e-9 && times >= 1)) {
    throw new RecipeError(
      `load_best_model_at_end needs save_steps to be a multiple of eval_steps, got ${save} and ${evaluate}`,
    );
  }
}

function sameValue(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
