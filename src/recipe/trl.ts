import { parse, stringify } from "yaml";
import { DATA_SETS } from "../data/sets/registry.ts";
import {
  canonical,
  complete,
  type FieldValue,
  fieldsOf,
  type GrpoRecipe,
  groups,
  type Method,
  sameValue,
} from "./recipe.ts";

/** Names that `trl grpo`'s own script knows, of those that Qwench has other names for. */
const SAME_REWARDS: Readonly<Record<string, string>> = { accuracy: "accuracy_reward" };
/** Those that the script knows by Qwench's own names. */
const TRL_REWARDS = [
  "accuracy_reward",
  "reasoning_accuracy_reward",
  "think_format_reward",
  "get_soft_overlong_punishment",
];
/** The Python file, beside the configuration, that the other functions go into. */
const MODULE = "qwench_rewards";

/** What a recipe is called in its own head comment. */
export interface TrlSource {
  name: string;
  method: Method;
  source: string;
}

/**
 * A recipe as `trl sft --config`, `trl grpo --config` or `trl dpo --config` of TRL 1 takes it: TRL's fields under their present names. What it
 * has no field for is a comment that says what to do by hand.
 *
 * @param text YAML of a valid recipe
 */
export function trlConfig(text: string, { name, method, source }: TrlSource): string {
  const given = canonical(parse(text), method, []);
  const recipe = complete(given, method, []) as unknown as Record<string, FieldValue>;
  const byHand = handwork(given, recipe, method);
  const blocks: string[] = [];
  for (const group of groups) {
    const own: Record<string, unknown> = {};
    for (const field of fieldsOf(method)) {
      if (field.group !== group || field.origin !== undefined || isIdle(field.name, recipe)) continue;
      const value = recipe[field.name];
      const silent = sameValue(value, field.default) && field.trlDefault === undefined;
      if (!silent || (Object.hasOwn(given, field.name) && value !== null)) own[field.name] = value;
    }
    translate(own, recipe);
    if (Object.keys(own).length > 0) blocks.push(`# ${group}\n${plainYaml(own)}`);
  }
  const head = [
    `${name}, for TRL 1: trl ${method} --config ${name}.yaml`,
    `Source: ${source}`,
    ...(byHand.length > 0 ? ["TRL has no field for the rest, to be done by hand:"] : []),
  ];
  return `${[...head, ...byHand.flatMap(item)].map((line) => `# ${line}`.trimEnd()).join("\n")}\n\n${blocks.join("\n")}`;
}

/** Whether a field says nothing beside what the others say. */
function isIdle(name: string, recipe: Record<string, FieldValue>): boolean {
  if (name === "metric_for_best_model" || name === "greater_is_better") return !recipe.load_best_model_at_end;
  return !recipe.use_peft && name !== "use_peft" && /^(?:use_rs)?lora/.test(name);
}

/** Lines of one item of a list. */
function item(text: string): string[] {
  return text.split("\n").map((line, i) => (i === 0 ? `- ${line}` : `  ${line}`));
}

/** Values that TRL spells otherwise. */
function translate(own: Record<string, unknown>, recipe: Record<string, FieldValue>): void {
  const home = homeOf(recipe);
  if ("dataset_name" in own && home) {
    own.dataset_name = home.id;
    if (home.config && recipe.dataset_config === null) own.dataset_config = home.config;
    const split = home.splits?.[recipe.dataset_train_split as string];
    if (split) own.dataset_train_split = split;
  }
  if (Array.isArray(own.reward_funcs)) own.reward_funcs = own.reward_funcs.map((entry) => rewardName(String(entry)));
}

/** Where a data set that goes by Qwench's own name lies on the hub. */
function homeOf({ dataset_name }: Record<string, FieldValue>) {
  const name = String(dataset_name);
  return Object.hasOwn(DATA_SETS, name) ? DATA_SETS[name].homes[0] : null;
}

/** A reward as the script finds it: its own, or a function by its import path. */
function rewardName(entry: string): string {
  const name = Object.hasOwn(SAME_REWARDS, entry) ? SAME_REWARDS[entry] : entry;
  return TRL_REWARDS.includes(name) ? name : `${MODULE}.${name.replace(/^.*[:/]/, "").replace(/\.[cm]?[jt]s$/, "")}`;
}

/** Columns of rows that TRL reads. */
const COLUMNS: Readonly<Record<Method, string>> = {
  sft: "prompt and completion",
  grpo: "prompt, and what the rewards compare with",
  dpo: "prompt, chosen and rejected",
};

/** What TRL has no field for, with what to do about it. */
function handwork(given: Record<string, FieldValue>, recipe: Record<string, FieldValue>, method: Method): string[] {
  const lines: string[] = [];
  const known = homeOf(recipe) !== null || (recipe.dataset_format ?? null) !== null;
  if (given.system_prompt)
    lines.push(`system_prompt: put this system message before every prompt of the data set:\n${given.system_prompt}`);
  const columns = COLUMNS[method];
  const options = given.dataset_options ? ` as dataset_options says: ${JSON.stringify(given.dataset_options)}` : "";
  if (known || recipe.dataset_name !== null) {
    lines.push(
      `dataset_name: TRL takes the data set's columns as they are; make one with the columns ${columns} (messages)${options}`,
    );
  }
  if (given.adapter_name_or_path) {
    lines.push(
      `adapter_name_or_path: TRL begins with a new adapter; merge the one in ${given.adapter_name_or_path} into the model with qwench export, and name that in model_name_or_path`,
    );
  }
  if (given.max_prompt_length)
    lines.push(`max_prompt_length: leave out rows whose prompt has more than ${given.max_prompt_length} tokens`);
  const own = ((recipe as unknown as GrpoRecipe).reward_funcs ?? []).map(String).filter((entry) => {
    return rewardName(entry).startsWith(`${MODULE}.`);
  });
  if (method === "grpo" && own.length > 0) {
    lines.push(
      `reward_funcs: write ${own.map((entry) => rewardName(entry)).join(", ")} in ${MODULE}.py beside this file`,
    );
  }
  const said = ["system_prompt", "dataset_options", "dataset_format", "adapter_name_or_path", "max_prompt_length"];
  for (const field of fieldsOf(method)) {
    if (field.origin === undefined || said.includes(field.name) || !Object.hasOwn(given, field.name)) continue;
    const value = given[field.name];
    if (value === null) continue;
    const shown = typeof value === "string" && value.includes("\n") ? `\n${value}` : ` ${JSON.stringify(value)}`;
    lines.push(`${field.name}:${shown}`);
  }
  return lines;
}

/** YAML that YAML 1.1 reads the same, as PyYAML does: "no" is text, and 1.0e-7 a number, which 1e-7 is not. */
function plainYaml(values: Record<string, unknown>): string {
  const text = stringify(values, { lineWidth: 0, version: "1.1" });
  return text.replace(/^(\s*(?:- |[\w]+: ))(-?\d+)e([-+]\d+)$/gm, "$1$2.0e$3");
}
