import type { FormField, Job, Method, ModelSource, Phase } from "../../src/client/types.ts";
import { formatColumns } from "../../src/data/columns.ts";
import { SYSTEM_PROMPTS } from "../../src/data/sets/forms.ts";
import { RecipeError } from "../../src/errors.ts";
import { type FieldValue, fieldsOf, type ParsedRecipe, parseRecipe, type Recipe } from "../../src/recipe/recipe.ts";
import { GSM8K_REWARDS, REWARDS } from "../../src/rewards/registry.ts";
import { show } from "../../src/text/show.ts";

/** Fields that the job sets. Forms do not show them, and pasted recipes lose them. */
const OF_THE_JOB = new Set(
  (
    "model_name_or_path model_revision adapter_name_or_path use_peft dataset_name dataset_config dataset_train_split " +
    "dataset_test_split eval_dataset_name environment test_split_size datasets streaming dataset_streaming columns chat_template_path output_dir overwrite_output_dir resume_from_checkpoint " +
    "save_total_limit profile log_completions num_completions_to_print judge_cache"
  ).split(" "),
);
/** Fields of the adapter, which all phases of a job share. */
const OF_THE_ADAPTER = [
  ...(["lora_r", "lora_alpha", "use_rslora", "lora_target_modules"] as const),
  ...(["exclude_modules", "layers_to_transform", "rank_pattern", "alpha_pattern"] as const),
] as const;

/** A phase's complete recipe. */
export type PhaseRecipe = { [M in Method]: { method: M } & ParsedRecipe<M> }[Method];

/** Loaded on demand: a large part of the script, which opening the page does not need. */
const yaml = () => import("../../src/recipe/yaml.ts");

/** Seconds that the user's own functions may take for a batch, unless the recipe says otherwise. */
const OWN_REWARD_SECONDS = 30;

/** The options of a method for a form. */
export function formFields(method: Method): FormField[] {
  return fieldsOf(method)
    .filter(({ name }) => !OF_THE_JOB.has(name))
    .map(({ name, group, type, default: value, nullable, choices, min, above, max, below, unit, help }) => ({
      name,
      group,
      type,
      default: value,
      nullable: nullable ?? false,
      choices: choices ? [...choices] : name === "reward_funcs" ? Object.keys(REWARDS) : null,
      min: min ?? above ?? null,
      max: max ?? below ?? null,
      unit: unit ?? null,
      help,
    }));
}

/**
 * Reads a recipe from a form, or from the YAML of any TRL run.
 *
 * @returns the fields that differ from their defaults, without those that the job sets
 * @throws {RecipeError}
 */
export async function parseForm(
  input: Record<string, unknown> | string,
  method: Method,
): Promise<{ recipe: Record<string, unknown>; notes: string[] }> {
  const { recipe, notes } =
    typeof input === "string"
      ? (await yaml()).parseRecipeYaml(input, "recipe.yaml", method)
      : parseRecipe(input, method);
  const kept: Record<string, unknown> = {};
  const left: string[] = [];
  for (const field of fieldsOf(method)) {
    const value = (recipe as Record<string, FieldValue>)[field.name];
    if (show(value) === JSON.stringify(field.default)) continue;
    if (OF_THE_JOB.has(field.name)) left.push(field.name);
    else kept[field.name] = value;
  }
  return {
    recipe: kept,
    notes: left.length > 0 ? [...notes, `${left.join(", ")}: set by this page, not by the recipe`] : notes,
  };
}

/** A recipe as YAML for `trl` and `qwench`. */
export async function formatForm(recipe: Record<string, unknown>, method: Method): Promise<string> {
  const { formatRecipeYaml } = await yaml();
  return formatRecipeYaml(parseRecipe(recipe, method).recipe, method);
}

/**
 * The recipe of one phase of a job: the phase's fields, the adapter's shape from the first phase, and the names of model and
 * data.
 *
 * @throws {RecipeError} also if a later phase sets another adapter shape
 */
export function phaseRecipe(job: Job, index: number): PhaseRecipe {
  const { method, recipe, data, modules = [] } = job.phases[index];
  const own = Object.keys(recipe).find((name) => OF_THE_JOB.has(name));
  if (own) throw new RecipeError(`${own} is set by this page: remove it from the recipe`);
  const judged = method === "grpo" && !recipe.reward_funcs && hasGsm8kAnswers(data);
  const formed =
    isGsm8k(data) && method !== "dpo" && !("dataset_format" in recipe) && data.kind === "hub" && !data.columns;
  const short = modules.length > 0 && !(recipe.reward_funcs as string[] | undefined)?.includes("judge");
  const wanted = {
    ...(short ? { reward_timeout: OWN_REWARD_SECONDS } : {}),
    ...(index > 0 ? adapterFields(job.phases[0]) : {}),
    ...(formed ? { ...GSM8K_FORM, ...(method === "sft" && { dataset_options: { form: "xml" } }) } : {}),
    ...recipe,
    ...(judged ? { reward_funcs: GSM8K_REWARDS } : {}),
    ...namesOf(job.model, data),
    output_dir: `phase-${index + 1}`,
    ...(recipe.save_strategy === "no" ? { save_strategy: "steps" } : {}), // the user may close the tab at any time
    save_total_limit: 2,
  };
  const made = { method, ...parseRecipe(wanted, method) } as PhaseRecipe;
  if (formed)
    made.notes.push(
      "GSM8K's rows are read in the form of the published recipe, with <reasoning> and <answer> tags; dataset_format and system_prompt change that",
    );
  if (index > 0) {
    for (const [name, value] of Object.entries(adapterFields(job.phases[0]))) {
      const other = made.recipe[name as (typeof OF_THE_ADAPTER)[number]];
      if (show(other) === show(value)) continue;
      throw new RecipeError(
        `Phase ${index + 1} continues with the adapter of phase 1, whose ${name} is ${show(value)}, not ${show(other)}`,
      );
    }
  }
  return made;
}

/** Largest answer in tokens if no phase sets a completion length. */
const ANSWER_TOKENS = 256;

/** The largest answer to a held-out problem, in tokens. */
export function answerTokens(job: Job): number {
  const lengths = job.phases.flatMap((_, i) => {
    const { recipe } = phaseRecipe(job, i);
    return "max_completion_length" in recipe ? [recipe.max_completion_length] : [];
  });
  return lengths.at(-1) ?? ANSWER_TOKENS;
}

/** The adapter's shape in a phase. */
function adapterFields({ method, recipe }: Phase): Record<string, unknown> {
  const parsed = parseRecipe(recipe, method).recipe as PhaseRecipe["recipe"];
  return Object.fromEntries(OF_THE_ADAPTER.map((name) => [name, parsed[name]]));
}

/** Whether the rows are known to have the answers that the GSM8K rewards need. */
function hasGsm8kAnswers(data: Phase["data"]): boolean {
  return data.kind === "embedded" || isGsm8k(data);
}

/** Whether rows are those of GSM8K on the hub. */
export function isGsm8k(data: Phase["data"]): boolean {
  return data.kind === "hub" && /(^|\/)gsm8k$/.test(data.id);
}

/** How the published recipe reads GSM8K, unless the phase says otherwise. */
export const GSM8K_FORM = { dataset_format: "gsm8k", system_prompt: SYSTEM_PROMPTS.xml.trimStart() };

/** The recipe of a phase as YAML. */
export async function phaseYaml(phase: PhaseRecipe): Promise<string> {
  const { formatRecipeYaml } = await yaml();
  return formatRecipeYaml(phase.recipe as Recipe<Method>, phase.method);
}

/** The recipe fields that name model and data. The embedded ones need none. */
function namesOf(model: ModelSource, data: Phase["data"]): Record<string, unknown> {
  const names: Record<string, unknown> = {};
  if (model.kind === "hub")
    Object.assign(names, {
      model_name_or_path: model.id,
      ...(model.revision ? { model_revision: model.revision } : {}),
    });
  else if (model.kind !== "embedded") names.model_name_or_path = nameOfModel(model);
  if (data.kind === "hub") {
    names.dataset_name = data.id;
    if (data.config) names.dataset_config = data.config;
    if (data.split) names.dataset_train_split = data.split;
  } else if (data.kind !== "embedded") names.dataset_name = nameOfData(data);
  const columns = data.kind === "embedded" ? {} : (data.columns ?? {});
  const renamed = Object.entries(columns).some(([name, own]) => name !== own);
  if (renamed) names.columns = formatColumns(columns); // so that the command line reads the same rows
  return names;
}

export function nameOfModel(model: ModelSource): string {
  switch (model.kind) {
    case "embedded":
      return "the embedded model";
    case "hub":
      return model.id;
    case "files":
      return model.name;
    case "stored":
      return storedName(model.id);
  }
}

export function nameOfData(data: Phase["data"]): string {
  switch (data.kind) {
    case "embedded":
      return "the embedded problems";
    case "hub":
      return data.id;
    case "file":
      return data.file.name;
    case "stored":
      return storedName(data.id);
  }
}

/** The name of a stored item: the hub's id, or the name of the user's files. */
export function storedName(id: string): string {
  const base = id.slice(id.indexOf("/") + 1);
  if (id.startsWith("hub/")) return base.replace(/^(models|datasets)--/, "").replaceAll("--", "/");
  return base.replace(/-[0-9a-f]{8}$/, "");
}
