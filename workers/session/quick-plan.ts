import type { Job, JobPlan, PhasePlan } from "../../src/client/types.ts";
import { MemoryError } from "../../src/errors.ts";
import type { AdapterLike } from "../../src/gpu/fake-device.ts";
import { publishedShape } from "../../src/model/architectures/published.ts";
import { type ModelConfig, parseModelConfig } from "../../src/model/config.ts";
import {
  type DpoRecipe,
  type GrpoRecipe,
  generationOf,
  type Method,
  type Recipe,
  type SftRecipe,
} from "../../src/recipe/recipe.ts";
import type { DeviceTimes } from "../../src/session/device-times.ts";
import { knowsWidth } from "../../src/session/measure.ts";
import { quickForecast } from "../../src/session/quick-forecast.ts";
import { forecastTime, meansOf, type RunLengths } from "../../src/session/time-forecast.ts";
import type { MemoryForecast } from "../../src/train/forecast/memory.ts";
import { GrpoBatches } from "../../src/train/grpo/batches.ts";
import { RowBatches } from "../../src/train/row-batches.ts";
import { diskOf, heldOutOf } from "./job-costs.ts";
import type { Known, KnownRows } from "./known-rows.ts";
import { isGsm8k, nameOfModel, phaseRecipe } from "./recipes.ts";

/** Fields that are often edited and change no memory. */
const OF_NO_MEMORY = new Set(["learning_rate", "max_steps", "num_train_epochs", "lr_scheduler_type", "warmup_steps"]);

/** Rows that a recipe is assumed to have, if none have been read: the fewest that make an epoch of GRPO. */
const UNREAD = { rows: 1000, longest: 512 };

/**
 * Mean tokens of GSM8K's 7,473 rows in the published form, counted as words, digits and marks: a question has 56, with system prompt
 * and template 116; a solution has 83, with its tags 108.
 */
const GSM8K = { rows: 7473, prompt: 116, solution: 108 };

/** What is known about rows that nobody has read yet; null: nothing. */
function typicalRows({ data }: Job["phases"][number], method: Method): { count: number; means: RunLengths } | null {
  if (!isGsm8k(data)) return null;
  const { rows: count, prompt, solution } = GSM8K;
  return { count, means: meansOf([method === "grpo" ? [prompt, 0] : [prompt + solution, solution]]) };
}

/** What a quick plan rests on. */
interface QuickSources {
  known: Known;
  adapter: AdapterLike;
  available: number | null;
  times: DeviceTimes | null;
  free: number | null;
}

/**
 * The plan of a job from its model's shape and the lengths of rows that were read before. Rows that were not read count as long as
 * the recipe allows.
 *
 * @returns null if the model's shape is unknown
 */
export async function quickPlan(job: Job, sources: QuickSources): Promise<JobPlan | null> {
  const { known, adapter, available, times, free } = sources;
  const seen = known.model(job.model);
  const shape = seen?.shape ?? (job.model.kind === "hub" ? publishedShape(job.model.id) : null);
  if (!shape) return null;
  const config = parseModelConfig({ ...shape }, nameOfModel(job.model));
  const plan: JobPlan = {
    phases: [],
    fits: true,
    problem: null,
    error: null,
    download: seen?.missing ?? null,
    exact: false,
    available,
    disk: null,
    time:
      times && knowsWidth(times.rates, config) ? { seconds: 0, phases: [], heldOut: 0, basis: "measurement" } : null,
    ways: [],
  };
  let taught: number | null = null; // tokens of the answers that SFT teaches
  for (let index = 0; index < job.phases.length; index++) {
    const { method, recipe, notes } = phaseRecipe(job, index);
    const both = recipe as SftRecipe | GrpoRecipe;
    const rows = known.find(job, index);
    const { limits } = adapter;
    const longest = longestOf(method, both, rows);
    let memory: MemoryForecast;
    try {
      const key = JSON.stringify([job.model, method, recipe, longest], (name, value) =>
        OF_NO_MEMORY.has(name) ? undefined : value,
      );
      memory = await known.memory(key, () =>
        quickForecast(recipe as Recipe<Method>, method, { shape, longest, limits }),
      );
    } catch (error) {
      if (!(error instanceof MemoryError)) throw error;
      return { ...plan, fits: false, problem: error.message, error: error.name };
    }
    const typical = rows ? null : typicalRows(job.phases[index], method);
    const max_steps = stepsOf(method, both, rows, typical?.count ?? UNREAD.rows);
    const { peak, byKind, trainable, parameters } = memory;
    const phase: PhasePlan = {
      method,
      memory: { peak, byKind: { ...byKind } },
      trainable,
      parameters,
      rows: rows?.lengths.length ?? 0,
      max_steps,
      notes,
    };
    plan.phases.push(phase);
    if (available !== null && peak > available) plan.fits = false;
    if (plan.time && times)
      addTime(plan, job, index, {
        config,
        times,
        lengths: rows?.means ?? typical?.means ?? meansOf([[longest, longest / 2]]),
        max_steps,
        taught,
      });
    if (method === "sft") taught = (rows ?? typical)?.means.labelled ?? null;
  }
  if (!plan.fits) plan.problem = "The forecast is more than this machine has free.";
  if (free !== null) plan.disk = { run: diskOf(job, plan.phases), free };
  return plan;
}

/** What the time of a phase depends on. */
interface Costs {
  config: ModelConfig;
  times: DeviceTimes;
  lengths: RunLengths;
  max_steps: number;
  /** tokens of a completion; null: unknown */
  taught: number | null;
}

/** Adds the time of a phase, and with the last one that of the held-out problems. */
function addTime(plan: JobPlan, job: Job, index: number, { config, times, lengths, max_steps, taught }: Costs): void {
  const { method, recipe } = phaseRecipe(job, index);
  const last = index === job.phases.length - 1;
  const lora_r = (recipe as SftRecipe).use_peft ? (recipe as SftRecipe).lora_r : null;
  const made = forecastTime(
    {
      method,
      recipe: recipe as Recipe<Method>,
      config,
      lora_r,
      lengths,
      max_steps,
      completion: taught,
      heldOut: last ? heldOutOf(job, lengths.row) : null,
    },
    times.rates,
    { earlier: times.runs, model: nameOfModel(job.model) },
  );
  const time = plan.time!;
  time.phases.push(made.seconds - made.parts.heldOut);
  time.heldOut += made.parts.heldOut;
  time.seconds += made.seconds;
  time.basis = made.basis;
}

/** Mean tokens of a row in the largest micro-batch; in GRPO those of the longest prompt. */
function longestOf(method: Method, recipe: SftRecipe | GrpoRecipe, rows: KnownRows | null): number {
  const limit = method === "grpo" ? (recipe as GrpoRecipe).max_prompt_length : (recipe as SftRecipe).max_length;
  if (!rows) return limit ?? UNREAD.longest;
  const most = rows.lengths.reduce((a, b) => Math.max(a, b), 1);
  if (method === "grpo") return most;
  if (method === "sft" && (recipe as SftRecipe).packing) return limit ?? most;
  const batches = new RowBatches(rows.lengths, recipe as SftRecipe | DpoRecipe);
  const micro = batches.step(batches.largest()).map((ids) => ids.reduce((sum, id) => sum + rows.lengths[id], 0));
  const each = Math.ceil(Math.max(...micro) / recipe.per_device_train_batch_size);
  return method === "dpo" ? Math.ceil(each / 2) : each;
}

/** @param unread number of rows if none have been read */
function stepsOf(method: Method, recipe: SftRecipe | GrpoRecipe, rows: KnownRows | null, unread: number): number {
  if (recipe.max_steps > 0) return recipe.max_steps;
  const count = rows?.lengths.length ?? unread;
  if (method === "grpo") {
    const grpo = recipe as GrpoRecipe;
    const { steps_per_generation, prompts } = generationOf(grpo);
    return new GrpoBatches(rows ? count : Math.max(count, prompts), { ...grpo, steps_per_generation }).max_steps;
  }
  const lengths = rows?.lengths ?? new Array<number>(count).fill(1);
  const { packing, max_length } = recipe as SftRecipe;
  if (!packing || method !== "sft" || max_length === null)
    return new RowBatches(lengths, recipe as SftRecipe).max_steps;
  const bins = Math.ceil(lengths.reduce((a, b) => a + b, 0) / max_length);
  return new RowBatches(new Array<number>(bins).fill(max_length), recipe as SftRecipe).max_steps;
}
