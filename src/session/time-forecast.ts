import type { ModelConfig } from "../model/config.ts";
import {
  type DpoRecipe,
  type GrpoRecipe,
  generationOf,
  type Method,
  type Recipe,
  type SftRecipe,
} from "../recipe/recipe.ts";
import { type DeviceRates, ratesFor, secondsOf } from "../train/forecast/rates.ts";
import type { Pass, WorkModel } from "../train/forecast/work.ts";
import { slotsFor } from "../train/grpo/rollout.ts";
import type { Training } from "./train.ts";

/** The lengths that a run's time depends on, in tokens, as means over its rows. */
export interface RunLengths {
  /** a row; in GRPO a prompt; in DPO both answers with their prompts */
  row: number;
  /** tokens of a row that the loss counts; not read in GRPO */
  labelled: number;
  /** tokens that a token attends to; in GRPO those of its prompt */
  context: number;
  /** patches of a row's images that the vision tower sees */
  patches?: number;
}

/** A phase of an earlier run on this device: what was forecast for a step, and the median that it took, in seconds. */
export interface EarlierRun {
  model: string;
  method: Method;
  forecast: number;
  taken: number;
}

/** What a time forecast needs to know about a run. */
export interface TimeInput<M extends Method = Method> {
  method: M;
  recipe: Recipe<M>;
  config: ModelConfig;
  lora_r: number | null;
  lengths: RunLengths;
  max_steps: number;
  /** tokens of a completion, if they are known: those of the answers that an earlier phase teaches; default: a share of the most */
  completion?: number | null;
  /** number of kernels that the run compiles; default: those of a usual run */
  kernels?: number;
  /** problems that the model answers beside the steps, and how often; absent: none */
  heldOut?: { problems: number; times: number; prompt: number; max_new_tokens: number } | null;
}

/** Seconds that a run takes. */
interface TimeForecast {
  seconds: number;
  /** one optimizer step, with its share of the generation */
  step: number;
  /** the same before the correction by earlier runs, to compare a run with */
  counted: number;
  parts: { compile: number; generate: number; train: number; heldOut: number };
  /** what it rests on: only the measurement of the device, or also earlier runs of the method, or of method and model */
  basis: "measurement" | "method" | "model";
}

/** Share of max_completion_length that completions have on average, before any has been seen. */
const COMPLETION_SHARE = 0.6;
/** The longest of many completions, in multiples of their mean length. */
const LONGEST = 1.6;
/** Kernels of a run, if nobody has counted them. */
const USUAL_KERNELS = 60;
/** Earlier runs that a median is taken over. */
const NEWEST = 8;

/**
 * How long a run takes: its operations, counted from the recipe and the shapes, at the measured rates of the device, then
 * corrected by the median ratio of earlier runs with the same model and method, or else with the same method.
 *
 * @param earlier runs on the same device, the oldest first
 */
export function forecastTime(
  input: TimeInput,
  device: DeviceRates,
  { earlier = [], model = "" }: { earlier?: readonly EarlierRun[]; model?: string } = {},
): TimeForecast {
  const work = workOf(input);
  const rates = ratesFor(device, input.config);
  const { generate, train } = stepPasses(input);
  const alike = earlier.filter(({ method }) => method === input.method);
  const same = alike.filter((run) => run.model === model);
  const ratio = ratioOf(same) ?? ratioOf(alike) ?? 1;
  const [generating, training] = [generate, train].map((passes) => secondsOf(passes, work, rates));
  const parts = {
    compile: rates.kernel * (input.kernels ?? USUAL_KERNELS),
    generate: ratio * generating * input.max_steps,
    train: ratio * training * input.max_steps,
    heldOut: input.heldOut ? secondsOf(heldOutPasses(input), { ...work, whole: false }, rates) : 0,
  };
  return {
    seconds: parts.compile + parts.generate + parts.train + parts.heldOut,
    step: ratio * (generating + training),
    counted: generating + training,
    parts,
    basis: same.length > 0 ? "model" : alike.length > 0 ? "method" : "measurement",
  };
}

/** The median of what runs took, divided by what was forecast; null without runs. */
function ratioOf(runs: readonly EarlierRun[]): number | null {
  const ratios = runs
    .slice(-NEWEST)
    .map(({ forecast, taken }) => taken / forecast)
    .filter((ratio) => Number.isFinite(ratio) && ratio > 0)
    .sort((a, b) => a - b);
  if (ratios.length === 0) return null;
  const half = ratios.length >> 1;
  return ratios.length % 2 === 1 ? ratios[half] : (ratios[half - 1] + ratios[half]) / 2;
}

function workOf({ recipe, config, lora_r }: TimeInput): WorkModel {
  return { config, lora_r, whole: lora_r === null, gradient_checkpointing: recipe.gradient_checkpointing };
}

/** The passes of one optimizer step, on average. */
function stepPasses(input: TimeInput): { generate: Pass[]; train: Pass[] } {
  if (input.method === "grpo") return grpoPasses(input as TimeInput<"grpo">);
  if (input.method === "dpo") return { generate: [], train: dpoPasses(input as TimeInput<"dpo">) };
  const { recipe, lengths } = input as TimeInput<"sft">;
  return { generate: [], train: [microPass(recipe, rowsOfMicro(recipe, lengths), lengths)] };
}

type Batched = Pick<SftRecipe, "per_device_train_batch_size" | "gradient_accumulation_steps">;

function microPass({ gradient_accumulation_steps: count }: Batched, rows: number, lengths: RunLengths): Pass {
  const { row, labelled, context, patches = 0 } = lengths;
  return { kind: "train", count, tokens: rows * row, context, rows: rows * labelled, patches: rows * patches };
}

/** Rows of a micro-batch: with packing, as many as fit its bins. */
function rowsOfMicro(
  { per_device_train_batch_size: size, packing, max_length }: SftRecipe,
  { row }: RunLengths,
): number {
  return packing && max_length !== null ? Math.max(size, (size * max_length) / Math.max(1, row)) : size;
}

function dpoPasses({ recipe, lengths }: TimeInput<"dpo">): Pass[] {
  const { per_device_train_batch_size: size } = recipe as DpoRecipe;
  const train = microPass(recipe, size, lengths);
  return [train, { ...train, kind: "forward" }]; // the reference, in each step or once before them
}

function grpoPasses({ recipe, config, lengths, completion }: TimeInput<"grpo">): { generate: Pass[]; train: Pass[] } {
  const grpo = recipe as GrpoRecipe;
  const { per_device_train_batch_size: batch, gradient_accumulation_steps: micros, num_generations } = grpo;
  const { num_iterations, max_completion_length: most } = grpo;
  const { steps_per_generation: perGeneration } = generationOf(grpo);
  const generations = micros / (perGeneration * num_iterations);
  const completions = batch * perGeneration;
  const made = Math.min(most, completion ?? COMPLETION_SHARE * most);
  const longest = completion ? Math.min(most, LONGEST * made) : most;
  const slots = slotsFor({ config }, completions, lengths.row + most);
  const passes = Math.max(longest, (completions * made) / slots);
  const context = (lengths.row + made) / 2;
  const train: Pass = {
    kind: "train",
    count: micros,
    tokens: batch * (lengths.row + made),
    context,
    rows: batch * made,
  };
  const offPolicy = micros % (perGeneration * num_iterations) !== 0;
  const looks = Number(grpo.beta !== 0) + Number(offPolicy);
  const prompts = completions / num_generations;
  return {
    generate: [
      { kind: "forward", count: generations, tokens: prompts * lengths.row, context: lengths.context, rows: 0 },
      { kind: "decode", count: generations * passes, tokens: slots, context: lengths.row + made / 2, rows: slots },
    ],
    train: [train, { ...train, kind: "forward", count: (looks * micros) / num_iterations }],
  };
}

function heldOutPasses({ config, heldOut }: TimeInput): Pass[] {
  const { problems, times, prompt, max_new_tokens } = heldOut!;
  const slots = slotsFor({ config }, problems, prompt + max_new_tokens);
  const count = times * Math.max(max_new_tokens, (problems * max_new_tokens * COMPLETION_SHARE) / slots);
  return [
    { kind: "forward", count: times, tokens: problems * prompt, context: prompt / 2, rows: 0 },
    { kind: "decode", count, tokens: slots, context: prompt + max_new_tokens / 2, rows: slots },
  ];
}

/** What a time forecast needs to know about a prepared run. */
export async function timeInputOf(training: Training): Promise<TimeInput> {
  const { method, recipe, prepared } = training;
  const { config, lora, batches } = prepared;
  const kernels = (await prepared.kernels()).length;
  const { max_steps } = batches;
  return { method, recipe, config, lora_r: lora?.r ?? null, lengths: lengthsOf(training), max_steps, kernels };
}

/** The lengths of a prepared run's rows. Those of a stream are unknown, so each counts as max_length tokens. */
function lengthsOf(training: Training): RunLengths {
  if (training.method === "grpo")
    return meansOf(training.prepared.data.train.map(({ prompt_ids: { length } }) => [length, length]));
  if (training.method === "dpo") {
    const answers = training.prepared.train.rows.map(({ chosen, rejected }) => [chosen, rejected]);
    const each = meansOf(
      answers.flat().map(({ input_ids: { length }, prompt }) => [length, Math.max(0, length - prompt)] as const),
    );
    return { ...each, row: 2 * each.row, labelled: 2 * each.labelled };
  }
  const { train } = training.prepared;
  if (train === null) {
    const length = training.recipe.max_length ?? 0;
    return { row: length, labelled: length, context: length / 2 };
  }
  const images = training.prepared.vision ? imagePatches(train.rows) : 0;
  const rows = train.rows.map(({ input_ids: { length }, labels }) => [length, countLabels(labels)] as const);
  return { ...meansOf(rows), patches: images };
}

const countLabels = (labels: ArrayLike<number>) => Array.from(labels).reduce((n, label) => n + Number(label >= 0), 0);

function imagePatches(rows: readonly { images?: readonly { grid: readonly number[] }[] }[]): number {
  const all = rows.flatMap(({ images = [] }) => images);
  return all.reduce((sum, { grid: [t, h, w] }) => sum + t * h * w, 0) / Math.max(1, rows.length);
}

/** Means over rows of `[tokens, labelled tokens]`. A causal token attends to half of its row; long rows count by their tokens. */
export function meansOf(rows: readonly (readonly [tokens: number, labelled: number])[]): RunLengths {
  const count = Math.max(1, rows.length);
  const tokens = rows.reduce((sum, [length]) => sum + length, 0);
  const squares = rows.reduce((sum, [length]) => sum + length ** 2, 0);
  const labelled = rows.reduce((sum, [, labels]) => sum + labels, 0);
  return { row: tokens / count, labelled: labelled / count, context: squares / Math.max(1, tokens) / 2 };
}
