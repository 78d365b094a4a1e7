import type { Job, PhasePlan, RunEvent } from "../../src/client/types.ts";
import { RecipeError } from "../../src/errors.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import type { Folder } from "../../src/io/storage.ts";
import type { Method, Recipe } from "../../src/recipe/recipe.ts";
import { openRewards } from "../../src/session/rewards.ts";
import {
  loadTraining,
  prepareTraining,
  runTraining,
  type Training,
  type TrainingEvent,
} from "../../src/session/train.ts";
import { checkpointNames, type Trainee } from "../../src/train/checkpoint.ts";
import { withoutHeldOut } from "./held-out.ts";
import type { Library, Report } from "./library.ts";
import { nameOfModel, phaseRecipe } from "./recipes.ts";
import { reporting } from "./reporting.ts";
import { rewardPlatform } from "./reward-platform.ts";

/** What a phase is made from. */
interface PhaseInput {
  job: Job;
  index: number;
  /** as `Library.openModel` gives it */
  model: Folder;
  /** of the phase before, to go on from */
  adapter: Folder | null;
  gpu: Gpu;
  library: Library;
  signal: AbortSignal;
}

/** A phase that is ready to load: everything was read and checked but the weights. */
export interface PreparedPhase {
  input: PhaseInput;
  training: Training;
  /** what it will take, for the page */
  forecast: PhasePlan;
  /** ends the threads of its rewards */
  close(): Promise<void>;
}

type Progress = Extract<RunEvent, { type: "progress" }>;

/** Seconds of work that a crash may cost. */
const SAVE_SECONDS = 30;

/** Reads rows and headers, and forecasts. @throws what is wrong with the recipe, the model or the rows */
export async function* preparePhase(input: PhaseInput): AsyncGenerator<Progress, PreparedPhase> {
  const { job, index, model, adapter, gpu, library, signal } = input;
  const { method, recipe, notes } = phaseRecipe(job, index);
  const { data } = job.phases[index];
  return yield* reporting(async (report) => {
    const fetching = { signal, report: asProgress(report, "bytes") };
    const onProgress = asProgress(report, "rows");
    const train = withoutHeldOut(await library.openRows(data, "train", fetching), job, index);
    const measured = recipe.eval_strategy !== "no";
    if (measured && data.kind !== "hub" && data.kind !== "embedded") {
      throw new RecipeError(
        `eval_strategy is ${recipe.eval_strategy}, and a file of your own has no test split: set it to no; held-out problems are solved all the same`,
      );
    }
    const held = measured
      ? await library.openRows({ ...data, ...(data.kind === "hub" ? { split: "test" } : {}) }, "test", fetching)
      : null;
    const judged = "reward_funcs" in recipe ? recipe : null;
    const platform = rewardPlatform(library.options.assets);
    const { rewards, close } = await openRewards(judged?.reward_funcs ?? [], judged ?? {}, platform);
    const sources = { gpu, model, adapter, train, eval: held, rewards, signal, onProgress };
    const training: Training = await prepareTraining(method, recipe as Recipe<Method>, sources);
    return { input, training, forecast: forecastOf(training, notes), close };
  });
}

/** Puts the weights of a prepared phase on the GPU. */
export async function* loadPhase({ training, input }: PreparedPhase): AsyncGenerator<Progress, Trainee> {
  const { gpu, job, signal } = input;
  return yield* reporting((report) =>
    loadTraining(training, { gpu, signal, onProgress: asProgress(report, "bytes") }, nameOfModel(job.model)),
  );
}

/**
 * Trains one phase from its newest checkpoint, or from the start.
 *
 * @param output where its checkpoints and its adapter go
 * @throws {AbortError} the signal fired: a checkpoint was saved
 */
export async function* trainPhase(phase: PreparedPhase, trainee: Trainee, output: Folder): AsyncGenerator<RunEvent> {
  const { training, input } = phase;
  const resume = (await checkpointNames(output)).length > 0 ? (true as const) : null;
  let drawn: Progress | null = null;
  const onProgress = (what: string, done: number, total: number) => {
    drawn = { type: "progress", what, done, total, unit: training.method === "grpo" ? "completions" : "rows" };
  };
  const options = { signal: input.signal, output, resume, save_seconds: SAVE_SECONDS, onProgress };
  const events: AsyncGenerator<TrainingEvent> = runTraining(training, trainee, options);
  // completions are counted while a step is awaited, so both are looked at
  for (let next = events.next(); ; ) {
    const result = await Promise.race([next, tick()]);
    if (drawn) yield drawn;
    drawn = null;
    if (result === null) continue;
    if (result.done) return;
    const told = runEventOf(result.value, phase);
    if (told) yield told;
    next = events.next();
  }
}

/** An event of a training as the page hears it. */
function runEventOf(event: TrainingEvent, { training, forecast, input }: PreparedPhase): RunEvent | null {
  const phase = input.index;
  switch (event.type) {
    case "start": {
      const { max_steps, global_step } = event;
      return { type: "phase", phase, method: training.method, max_steps, global_step, plan: forecast };
    }
    case "step": {
      const reward = "reward" in event ? event.reward : null;
      return { type: "step", phase, step: event.step, tokens: event.tokens, loss: event.loss, reward };
    }
    case "log":
    case "eval":
      return { type: event.type, phase, record: event.record };
    case "generated":
      return { type: "generated", phase, step: event.step, records: event.records };
    case "warning":
      return event;
    case "checkpoint":
      return { type: "checkpoint", phase, step: Number(event.name.split("-").at(-1)) };
    case "best":
      return { type: "note", text: `Restored the best checkpoint, ${event.name}` };
    case "end":
      return null;
  }
}

/** Milliseconds between two looks at what is under way. */
const LOOK_MS = 250;
const tick = () => new Promise<null>((resolve) => setTimeout(() => resolve(null), LOOK_MS));

function forecastOf({ method, prepared }: Training, notes: readonly string[]): PhasePlan {
  const { forecast, rows, batches, notes: found } = prepared;
  const { peak, byKind, trainable, parameters } = forecast;
  return {
    method,
    memory: { peak, byKind: { ...byKind } },
    trainable,
    parameters,
    rows,
    max_steps: batches.max_steps,
    notes: [...notes, ...found],
  };
}

/** Reports of lower floors, which count bytes where they know a total and rows where they do not. */
export function asProgress(report: (event: Progress) => void, unit: "bytes" | "rows" | "problems"): Report {
  return (what, done, total) => report({ type: "progress", what, done, total, unit });
}
