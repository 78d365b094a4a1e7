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

/** Rewards that `trl grpo`'s script knows under a name other than Qwench's. */
const SAME_REWARDS: Readonly<Record<string, string>> = { accuracy: "accuracy_reward" };
/** Rewards that the script knows under Qwench's names. */
const TRL_REWARDS = [
  "accuracy_reward",
  "reasoning_accuracy_reward",
  "think_format_reward",
  "get_soft_overlong_punishment",
];
/** The Python file, beside the configuration, for all other reward functions. */
const MODULE = "qwench_rewards";

/** The recipe's name in its head comment. */
export interface TrlSource {
  name: string;
  method: Method;
  source: string;
}

/**
 * A recipe for `trl sft --config`, `trl grpo --config` or `trl dpo --config` of TRL 1, with TRL's current field names. Settings
 * without a TRL field become a comment that says what to do by hand.
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
    ...(byHand.length > 0 ? ["TRL has no field for the following settings; apply them by hand:"] : []),
  ];
  return `${[...head, ...byHand.flatMap(item)].map((line) => `# ${line}`.trimEnd()).join("\n")}\n\n${blocks.join("\n")}`;
}

/** Whether other fields already imply this field. */
function isIdle(name: string, recipe: Record<string, FieldValue>): boolean {
  if (name === "metric_for_best_model" || name === "greater_is_better") return !recipe.load_best_model_at_end;
  return !recipe.use_peft && name !== "use_peft" && /^(?:use_rs)?lora/.test(name);
}

/** Wraps one list item into lines. */
function item(text: string): string[] {
  return text.split("\n").map((line, i) => (i === 0 ? `- ${line}` : `  ${line}`));
}

/** Values that TRL spells differently, or does not know. */
function translate(own: Record<string, unknown>, recipe: Record<string, FieldValue>): void {
  if (recipe.optim === "muon") for (const name of ["optim", "optim_args"]) delete own[name];
  const home = homeOf(recipe);
  if ("dataset_name" in own && home) {
    own.dataset_name = home.id;
    if (home.config && recipe.dataset_config === null) own.dataset_config = home.config;
    const split = home.splits?.[recipe.dataset_train_split as string];
    if (split) own.dataset_train_split = split;
  }
  // TRL splits mixtures only, and calls the parts train and test
  if ("test_split_size" in own && !recipe.datasets && own.dataset_name) {
    own.datasets = [
      {
        path: own.dataset_name,
        ...(own.dataset_config ? { name: own.dataset_config } : {}),
        split: own.dataset_train_split ?? recipe.dataset_train_split,
      },
    ];
    for (const name of ["dataset_name", "dataset_config", "dataset_train_split", "dataset_test_split"])
      delete own[name];
  }
  if (Array.isArray(own.reward_funcs)) own.reward_funcs = own.reward_funcs.map((entry) => rewardName(String(entry)));
}

/** The hub location of a data set that has a name of Qwench's own. */
function homeOf({ dataset_name }: Record<string, FieldValue>) {
  const name = String(dataset_name);
  return Object.hasOwn(DATA_SETS, name) ? DATA_SETS[name].homes[0] : null;
}

/** The reward's name in TRL's script: a built-in name, or a function's import path. */
function rewardName(entry: string): string {
  const name = Object.hasOwn(SAME_REWARDS, entry) ? SAME_REWARDS[entry] : entry;
  return TRL_REWARDS.includes(name) ? name : `${MODULE}.${name.replace(/^.*[:/]/, "").replace(/\.[cm]?[jt]s$/, "")}`;
}

/** Columns of rows that TRL reads. */
const COLUMNS: Readonly<Record<Method, string>> = {
  sft: "prompt and completion",
  grpo: "prompt, and the columns that the rewards read,",
  dpo: "prompt, chosen and rejected",
};

/** Settings without a TRL field, with what to do for each. */
function handwork(given: Record<string, FieldValue>, recipe: Record<string, FieldValue>, method: Method): string[] {
  const lines: string[] = [];
  const known = homeOf(recipe) !== null || (recipe.dataset_format ?? null) !== null;
  if (given.system_prompt)
    lines.push(`system_prompt: put this system message before every prompt of the data set:\n${given.system_prompt}`);
  const columns = COLUMNS[method];
  const options = given.dataset_options ? ` as dataset_options says: ${JSON.stringify(given.dataset_options)}` : "";
  if (known || recipe.dataset_name !== null) {
    lines.push(
      `dataset_name: TRL does not convert columns; make a data set with the columns ${columns} (messages)${options}`,
    );
  }
  if (given.adapter_name_or_path) {
    lines.push(
      `adapter_name_or_path: TRL starts with a new adapter; merge ${given.adapter_name_or_path} into the model with qwench export, and name the merged model in model_name_or_path`,
    );
  }
  if (recipe.optim === "muon") {
    const args = recipe.optim_args ? ` with ${JSON.stringify(recipe.optim_args)}` : "";
    lines.push(
      `optim: transformers has no muon; pass torch.optim.Muon${args} for the matrices of hidden layers and AdamW for the rest to the trainer's optimizers`,
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

/**
 * YAML that YAML 1.1 parsers such as PyYAML read the same way. They read a bare `no` as false and 1e-7 as text, so "no" is
 * quoted and the number becomes 1.0e-7.
 */
function plainYaml(values: Record<string, unknown>): string {
  const text = stringify(values, { lineWidth: 0, version: "1.1" });
  return text.replace(/^(\s*(?:- |[\w]+: ))(-?\d+)e([-+]\d+)$/gm, "$1$2.0e$3");
}
