import { type DpoLossType, dpoLossOf } from "../../shaders/loss/dpo-losses.ts";
import { type GrpoLossType, grpoLossRemarks, type LossSettings } from "../../shaders/loss/grpo-losses.ts";
import { parseColumns } from "../data/columns.ts";
import { RecipeError } from "../errors.ts";
import { show } from "../text/show.ts";
import type { FieldValue, Method } from "./field.ts";
import { grpoFields } from "./fields/grpo.ts";
import { readMixture } from "./mixture.ts";
import { muonSettings, type OptimArgs } from "./optim-args.ts";
import { checkSchedule } from "./schedules.ts";
import { readTrackers, TRACKERS } from "./trackers.ts";
import { readValue } from "./values.ts";

/** Fields of a GRPO recipe that determine how completions are batched, with TRL's names. */
interface GenerationFields {
  per_device_train_batch_size: number;
  gradient_accumulation_steps: number;
  num_generations: number;
  generation_batch_size: number | null;
  steps_per_generation: number | null;
}

/** How completions are batched, with every null resolved. */
interface GenerationBatch {
  /** micro-batches per generation batch */
  steps_per_generation: number;
  /** completions */
  generation_batch_size: number;
  /** prompts per generation batch */
  prompts: number;
}

/** The generation batch of a parsed recipe. @see TRL's GRPOConfig.__post_init__ */
export function generationOf(recipe: Readonly<GenerationFields>): GenerationBatch {
  const batch = recipe.per_device_train_batch_size;
  const given = recipe.generation_batch_size;
  const steps = recipe.steps_per_generation ?? (given === null ? recipe.gradient_accumulation_steps : given / batch);
  const size = batch * steps;
  return { steps_per_generation: steps, generation_batch_size: size, prompts: size / recipe.num_generations };
}

type Values = Record<string, FieldValue>;
type TokenLists = readonly number[] | Readonly<Record<string, readonly number[]>>;

interface PissaFields {
  use_peft: boolean;
  init_lora_weights: string;
  adapter_name_or_path: string | null;
}

/** Whether an adapter starts from the base's singular values: the base on the GPU then lacks them. */
export function startsWithPissa({ use_peft, init_lora_weights, adapter_name_or_path }: PissaFields): boolean {
  return use_peft && init_lora_weights === "pissa" && adapter_name_or_path === null;
}

/** Whether training changes more than an adapter's matrices: a reference is then a copy of the start. */
export function changesBase(recipe: PissaFields & { lora_modules_to_save: readonly string[] | null }): boolean {
  return startsWithPissa(recipe) || (recipe.use_peft && recipe.lora_modules_to_save !== null);
}

/**
 * The rules that span fields. Parses object values in place. `disable_dropout` sets lora_dropout to 0.
 *
 * @param recipe every field of the method, each already valid by itself
 * @param notes receives remarks on values that are allowed but probably a mistake
 * @throws {RecipeError} for the first broken rule, with its values
 */
export function checkRecipe(recipe: Values, method: Method, notes: string[]): void {
  checkSchedule(recipe, notes);
  checkBest(recipe);
  checkEvaluated(recipe, notes);
  checkTrackers(recipe, notes);
  checkOptimizer(recipe);
  if (recipe.load_in_4bit && recipe.load_in_8bit) {
    throw new RecipeError("load_in_4bit and load_in_8bit are both true: set only one of them");
  }
  const quantized = ["load_in_4bit", "load_in_8bit"].find((name) => recipe[name]);
  if (quantized && !recipe.use_peft) {
    throw new RecipeError(`${quantized} needs use_peft: true, got false: quantised weights are frozen`);
  }
  if (quantized && startsWithPissa(recipe as unknown as PissaFields)) {
    throw new RecipeError(
      `init_lora_weights pissa needs a base in float, got ${quantized}: as in PEFT, the rest of the base cannot be quantised without changing the model`,
    );
  }
  checkPatterns(recipe);
  checkMixture(recipe, method, notes);
  if (!recipe.use_peft && recipe.adapter_name_or_path !== null) {
    throw new RecipeError(
      `adapter_name_or_path needs use_peft: true, got false with ${show(recipe.adapter_name_or_path)}`,
    );
  }
  if (method === "grpo") {
    applyGenerationKwargs(recipe);
    checkGeneration(recipe as Values & GenerationFields);
    checkEvaluation(recipe);
    checkPolicy(recipe, notes);
  } else if (method === "dpo") {
    checkPreferences(recipe, notes);
  } else if (recipe.packing && recipe.max_length === null) {
    throw new RecipeError("packing needs max_length, the length of a packed row, got null");
  }
  if (recipe.loss_type === "dft" && recipe.label_smoothing_factor !== 0) {
    notes.push("label_smoothing_factor is ignored: dft has no smoothed targets");
  }
}

/** Fields by the names that `generation_kwargs` may hold. */
const GENERATION_KWARGS: Readonly<Record<string, string>> = {
  temperature: "temperature",
  top_k: "top_k",
  top_p: "top_p",
  min_p: "min_p",
  repetition_penalty: "repetition_penalty",
  max_new_tokens: "max_completion_length",
  stop_strings: "stop_strings",
};

/** `generation_kwargs` goes before the fields that say the same, as in TRL. */
function applyGenerationKwargs(recipe: Values): void {
  const given = (recipe.generation_kwargs ?? {}) as Record<string, unknown>;
  for (const [key, value] of Object.entries(given)) {
    if (!Object.hasOwn(GENERATION_KWARGS, key)) {
      throw new RecipeError(
        `generation_kwargs takes ${Object.keys(GENERATION_KWARGS).join(", ")}, got ${show(key)}: nothing else of transformers' generation is implemented`,
      );
    }
    const field = grpoFields.find(({ name }) => name === GENERATION_KWARGS[key])!;
    recipe[field.name] = readValue(field, value);
  }
}

/** A mixture is well formed, and what streams can be streamed. @see TRL's scripts/utils.py */
function checkMixture(recipe: Values, method: Method, notes: string[]): void {
  const datasets = recipe.datasets as readonly Record<string, unknown>[] | null;
  const parts = datasets && readMixture(datasets);
  if (typeof recipe.columns === "string") {
    parseColumns(recipe.columns); // or refuses
    if (parts) notes.push("columns is ignored: it is for dataset_name, and datasets goes before it");
  }
  if (parts && recipe.dataset_name !== null) {
    notes.push(`dataset_name ${show(recipe.dataset_name)} is ignored: datasets goes before it`);
  }
  const [used, unused] = parts ? ["streaming", "dataset_streaming"] : ["dataset_streaming", "streaming"];
  if (recipe[unused]) notes.push(`${unused} is ignored: ${used} applies ${parts ? "to" : "without"} datasets`);
  if (!recipe[used]) return;
  if (method !== "sft") throw new RecipeError(`${used} is implemented for sft, not for ${method}`);
  const rule = (broken: boolean, text: string) => {
    if (broken) throw new RecipeError(`${used} ${text}`);
  };
  rule(recipe.max_steps === -1, "needs max_steps, because the number of rows is unknown");
  rule(recipe.max_length === null, "needs max_length, from which the memory is forecast");
  rule(recipe.train_sampling_strategy === "group_by_length", "cannot group_by_length: rows come in their order");
  rule(recipe.test_split_size !== null, "cannot split off test_split_size: name eval_dataset_name");
  rule(parts?.some(({ fraction }) => fraction !== null) === true, "cannot take a fraction of a data set");
}

function checkOptimizer(recipe: Values): void {
  const args = recipe.optim_args as OptimArgs | null;
  if (recipe.optim === "muon")
    muonSettings(args); // or refuses
  else if (args !== null) {
    throw new RecipeError(
      `optim_args is for optim muon, got ${show(args)} with ${recipe.optim}: the others take adam_beta1, adam_beta2, adam_epsilon and weight_decay`,
    );
  }
}

function checkTrackers(recipe: Values, notes: string[]): void {
  const { unwritten, unknown } = readTrackers(recipe.report_to as readonly string[] | null);
  if (unknown.length > 0)
    throw new RecipeError(`report_to must name ${TRACKERS.join(", ")}, all or none, got ${show(unknown.join(", "))}`);
  for (const name of unwritten) notes.push(`report_to ${name} is ignored: Qwench writes for ${TRACKERS.join(", ")}`);
}

/** Checks that the ranks, alphas and numbers of single layers are valid. */
function checkPatterns(recipe: Values): void {
  const rank = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 1;
  const alpha = (value: unknown) => Number.isFinite(value) && (value as number) > 0;
  const rules = {
    rank_pattern: [rank, "whole numbers of at least 1"],
    alpha_pattern: [alpha, "numbers above 0"],
  } as const;
  for (const [name, [fits, what]] of Object.entries(rules)) {
    const odd = Object.entries((recipe[name] ?? {}) as object).find(([, value]) => !fits(value));
    if (odd) throw new RecipeError(`${name} must map names to ${what}, got ${show(odd[1])} for ${show(odd[0])}`);
  }
  const tokens = (recipe.trainable_token_indices ?? []) as TokenLists;
  const lists: readonly (readonly number[])[] = Array.isArray(tokens) ? [tokens] : Object.values(tokens);
  for (const ids of lists) {
    const odd = ids.find((id, i) => !Number.isSafeInteger(id) || id < 0 || ids.indexOf(id) !== i);
    if (odd !== undefined) {
      throw new RecipeError(`trainable_token_indices must hold different token ids from 0, got ${show(ids)}`);
    }
  }
  const layers = (recipe.layers_to_transform ?? []) as readonly number[];
  const layer = layers.find((one) => !Number.isSafeInteger(one) || one < 0);
  if (layer !== undefined) throw new RecipeError(`layers_to_transform must hold layer numbers from 0, got ${layer}`);
  if (recipe.init_lora_weights !== "orthogonal") return;
  const ranks = [recipe.lora_r, ...Object.values((recipe.rank_pattern ?? {}) as object)] as number[];
  const uneven = ranks.find((r) => r % 2 !== 0);
  if (uneven !== undefined) throw new RecipeError(`init_lora_weights orthogonal needs even ranks, got ${uneven}`);
}

/** A generation batch consists of whole micro-batches and whole groups, as in TRL. */
function checkGeneration(recipe: GenerationFields): void {
  const { per_device_train_batch_size: batch, num_generations: group, generation_batch_size: given } = recipe;
  const steps = recipe.steps_per_generation;
  const whole = (batch * group) / commonDivisor(batch, group);
  if (given !== null && steps !== null && given !== batch * steps) {
    throw new RecipeError(
      `generation_batch_size ${given} is not per_device_train_batch_size ${batch} × steps_per_generation ${steps} = ` +
        `${batch * steps}: set only one of generation_batch_size and steps_per_generation`,
    );
  }
  if (given !== null && given % batch !== 0) {
    throw new RecipeError(
      `generation_batch_size ${given} is not a multiple of per_device_train_batch_size ${batch}: ` +
        `try generation_batch_size ${multiplesNear(given, whole)}`,
    );
  }
  const { generation_batch_size: size, steps_per_generation: passes } = generationOf(recipe);
  if (size % group === 0) return;
  const groups = divisorsNear(size, group, 2);
  const orGroups = groups ? `, or num_generations ${groups}` : "";
  if (given !== null) {
    throw new RecipeError(
      `generation_batch_size ${given} is not a multiple of num_generations ${group}: ` +
        `try generation_batch_size ${multiplesNear(given, whole)}${orGroups}`,
    );
  }
  const name = steps === null ? "gradient_accumulation_steps" : "steps_per_generation";
  const tries = [
    `per_device_train_batch_size ${multiplesNear(batch, group / commonDivisor(group, passes))}`,
    `${name} ${multiplesNear(passes, whole / batch)}`,
    ...(steps === null ? [`generation_batch_size ${multiplesNear(size, whole)}`] : []),
  ];
  throw new RecipeError(
    `per_device_train_batch_size ${batch} × ${name} ${passes} = ${size} completions (not prompts) are not a multiple of ` +
      `num_generations ${group}: try ${tries.join(", or ")}${orGroups}`,
  );
}

function checkEvaluation(recipe: Values): void {
  if (recipe.eval_strategy === "no") return;
  const batch = recipe.per_device_eval_batch_size as number;
  const name = recipe.num_generations_eval === null ? "num_generations" : "num_generations_eval";
  const group = recipe[name] as number;
  if (batch % group === 0) return;
  throw new RecipeError(
    `per_device_eval_batch_size ${batch} (completions) is not a multiple of ${name} ${group}: ` +
      `try per_device_eval_batch_size ${multiplesNear(batch, group)}, or num_generations_eval ${divisorsNear(batch, group, 1)}`,
  );
}

function checkPolicy(recipe: Values, notes: string[]): void {
  if (recipe.beta !== 0 && !recipe.use_peft) {
    throw new RecipeError(
      `beta ${recipe.beta} needs use_peft: true, got false: the reference is the model without its adapter; set beta: 0`,
    );
  }
  const weights = recipe.reward_weights as readonly number[] | null;
  const rewards = recipe.reward_funcs as readonly string[] | null;
  if (weights !== null && weights.length !== rewards?.length) {
    throw new RecipeError(
      `reward_weights must hold one number for each of reward_funcs, got ${show(weights)} for ${show(rewards)}`,
    );
  }
  const settings = recipe as Values & LossSettings & { importance_sampling_level: unknown };
  notes.push(...grpoLossRemarks(recipe.loss_type as GrpoLossType, settings));
  checkEntropy(recipe, notes);
  if (recipe.disable_dropout) recipe.lora_dropout = 0;
}

function checkEntropy(recipe: Values, notes: string[]): void {
  const { entropy_coef_min: least, entropy_coef_max: most } = recipe as Record<string, number>;
  if (recipe.use_adaptive_entropy && least > most) {
    throw new RecipeError(`entropy_coef_min ${least} is above entropy_coef_max ${most}`);
  }
  const bounds = { entropy_coef_min: 0, entropy_coef_max: 1, entropy_coef_delta: 0.005, entropy_target: 0.2 };
  const idle = Object.entries(bounds).filter(([name, value]) => recipe[name] !== value && !recipe.use_adaptive_entropy);
  notes.push(...idle.map(([name]) => `${name} is ignored: use_adaptive_entropy is false`));
  if (recipe.multi_objective_aggregation === "normalize_then_sum" && recipe.scale_rewards !== "group") {
    notes.push("scale_rewards is ignored: normalize_then_sum scales in its own way");
  }
}

function checkPreferences(recipe: Values, notes: string[]): void {
  if (!recipe.use_peft && !recipe.precompute_ref_log_probs) {
    throw new RecipeError(
      "precompute_ref_log_probs must be true if use_peft is false, got false: training changes the reference's weights",
    );
  }
  const { smoothed } = dpoLossOf(recipe.loss_type as DpoLossType);
  if (recipe.loss_type === "exo_pair" && recipe.label_smoothing === 0) {
    throw new RecipeError("label_smoothing must be above 0 if loss_type is exo_pair, got 0; its authors use 1e-3");
  }
  if (recipe.label_smoothing !== 0 && !smoothed) {
    notes.push(
      `label_smoothing is ignored: ${recipe.loss_type} does not use it, as in TRL 1.13; only robust and exo_pair do`,
    );
  }
  if (recipe.precompute_ref_batch_size !== null && !recipe.precompute_ref_log_probs) {
    notes.push("precompute_ref_batch_size is ignored: precompute_ref_log_probs is false");
  }
  if (recipe.disable_dropout) recipe.lora_dropout = 0;
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}

/** The nearest multiples of `unit` below and above `value`: "8 or 16". */
function multiplesNear(value: number, unit: number): string {
  const below = Math.floor(value / unit) * unit;
  return below > 0 ? `${below} or ${below + unit}` : String(unit);
}

/** The nearest divisors of `size` below and above `value`, each at least `least`; empty if there are none. */
function divisorsNear(size: number, value: number, least: number): string {
  const far = 4096;
  const [below, above] = [Math.min(value, size), value].map((start, i) => {
    for (let n = start; n >= least && n <= size && Math.abs(n - start) <= far; n += i === 0 ? -1 : 1) {
      if (size % n === 0) return n;
    }
    return null;
  });
  return [below, above].filter((n) => n !== null).join(" or ");
}

/** What goes by evaluations needs some. */
function checkEvaluated(recipe: Values, notes: string[]): void {
  const needing = ["eval_on_start", "early_stopping_patience"].find((name) => recipe[name]);
  if (needing && recipe.eval_strategy === "no") {
    throw new RecipeError(`${needing} ${recipe[needing]} needs eval_strategy steps or epoch, got no`);
  }
  if (recipe.early_stopping_patience !== null && !recipe.load_best_model_at_end) {
    notes.push(
      "early_stopping_patience without load_best_model_at_end: the run ends with its last weights, not its best",
    );
  }
  if (recipe.early_stopping_patience === null && recipe.early_stopping_threshold !== 0) {
    notes.push("early_stopping_threshold is ignored: early_stopping_patience is null");
  }
}

/** Every evaluation needs a checkpoint, because each may be the best. transformers has the same rule. */
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
