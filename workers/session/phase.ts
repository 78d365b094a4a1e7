import type { CompletionRecord, Job, PhasePlan, RunEvent } from "../../src/client/types.ts";
import { RecipeError } from "../../src/errors.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import type { Folder } from "../../src/io/storage.ts";
import type { Method, Recipe } from "../../src/recipe/recipe.ts";
import type { ImageOpener, Images } from "../../src/session/images.ts";
import { openRewards } from "../../src/session/rewards.ts";
import {
  loadTraining,
  prepareTraining,
  runTraining,
  type Training,
  type TrainingEvent,
} from "../../src/session/train.ts";
import { compactJson } from "../../src/text/python-json.ts";
import { checkpointNames, type Trainee } from "../../src/train/checkpoint.ts";
import { withoutHeldOut } from "./held-out.ts";
import type { Library, Report } from "./library.ts";
import { nameOfModel, phaseRecipe } from "./recipes.ts";
import { reporting } from "./reporting.ts";
import type { RewardDesk } from "./reward-platform.ts";

/** Inputs of a phase. */
interface PhaseInput {
  job: Job;
  index: number;
  /** from `Library.openModel` */
  model: Folder;
  /** the previous phase's adapter, to continue from */
  adapter: Folder | null;
  gpu: Gpu;
  library: Library;
  rewards: RewardDesk;
  signal: AbortSignal;
}

/** A phase that is ready to load: everything except the weights has been read and checked. */
export interface PreparedPhase {
  input: PhaseInput;
  training: Training;
  /** the forecast, for the page */
  forecast: PhasePlan;
  /** opens images of rows; null: the model has no vision tower */
  images: Images | null;
  /** ends its rewards' threads */
  close(): Promise<void>;
}

type Progress = Extract<RunEvent, { type: "progress" }>;

/** Longest work in seconds that a crash may lose. */
const SAVE_SECONDS = 30;

/** Reads rows and headers, and forecasts. @throws if the recipe, model or rows are invalid */
export async function* preparePhase(input: PhaseInput): AsyncGenerator<Progress, PreparedPhase> {
  const { job, index, model, adapter, gpu, library, signal } = input;
  const { method, recipe, notes } = phaseRecipe(job, index);
  const { data, modules = [] } = job.phases[index];
  return yield* reporting(async (report) => {
    const fetching = { signal, report: asProgress(report, "bytes") };
    const onProgress = asProgress(report, "rows");
    const train = withoutHeldOut(await library.openRows(data, "train", fetching), job, index);
    const measured = recipe.eval_strategy !== "no";
    if (measured && data.kind !== "hub" && data.kind !== "embedded") {
      throw new RecipeError(
        `eval_strategy is ${recipe.eval_strategy}, but your own file has no test split: set eval_strategy to no. Held-out problems are still solved`,
      );
    }
    const held = measured
      ? await library.openRows({ ...data, ...(data.kind === "hub" ? { split: "test" } : {}) }, "test", fetching)
      : null;
    const judged = "reward_funcs" in recipe ? recipe : null;
    const platform = input.rewards.platform(modules, judged?.judge_url ?? null);
    const { rewards, close } = await openRewards(judged?.reward_funcs ?? [], judged ?? {}, platform);
    let opened: Images | null = null;
    // the code for images is loaded for models that see
    const images: ImageOpener = async (checkpoint, config) =>
      (opened = config.vision ? await (await import("./images.ts")).openImages({ checkpoint, config }) : null);
    const sources = { gpu, model, adapter, train, eval: held, images, rewards, signal, onProgress };
    try {
      const training: Training = await prepareTraining(method, recipe as Recipe<Method>, sources);
      return { input, training, forecast: forecastOf(training, notes), images: opened, close };
    } catch (error) {
      await close();
      throw error;
    }
  });
}

/** Loads the weights of a prepared phase onto the GPU. */
export async function* loadPhase({ training, input }: PreparedPhase): AsyncGenerator<Progress, Trainee> {
  const { gpu, job, signal } = input;
  return yield* reporting((report) =>
    loadTraining(training, { gpu, signal, onProgress: asProgress(report, "bytes") }, nameOfModel(job.model)),
  );
}

/**
 * Trains one phase from its newest checkpoint, or from the start.
 *
 * @param output folder for its checkpoints and its adapter
 * @throws {AbortError} the signal was aborted; a checkpoint has been saved
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
  // completions progress while a step is running, so watch both
  for (let next = events.next(); ; ) {
    const result = await Promise.race([next, tick()]);
    if (drawn) yield drawn;
    drawn = null;
    if (result === null) continue;
    if (result.done) return;
    if (result.value.type === "generated") yield* pictured(phase, result.value.records);
    const told = runEventOf(result.value, phase);
    if (told) yield told;
    next = events.next();
  }
}

/** Pictures of the images that records name. */
export async function* pictured(
  { images }: Pick<PreparedPhase, "images">,
  records: readonly { images?: readonly string[] }[],
): AsyncGenerator<RunEvent> {
  const keys = records.flatMap(({ images: own = [] }) => own);
  if (!images || keys.length === 0) return;
  yield { type: "pictures", pictures: await (await import("./images.ts")).picturesOf(images, keys) };
}

/** Converts an event of a training for the page. */
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
      return { type: "generated", phase, step: event.step, records: event.records.map(withSmallColumns) };
    case "warning":
    case "note":
      return event;
    case "checkpoint":
      return { type: "checkpoint", phase, step: Number(event.name.split("-").at(-1)) };
    case "best":
      return { type: "note", text: `Restored the best checkpoint, ${event.name}` };
    case "end":
      return null;
  }
}

/** Most characters of a column of a completion, as JSON: a row's tests may have megabytes. */
const COLUMN = 20_000;

/** The same record without large columns, because a page stores it. */
function withSmallColumns(record: CompletionRecord): CompletionRecord {
  const small = Object.entries(record.columns).filter(([, value]) => compactJson(value).length <= COLUMN);
  return { ...record, columns: Object.fromEntries(small) };
}

/** Milliseconds between progress checks. */
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

/** Converts progress reports. They count bytes if the total is known, else rows. */
export function asProgress(report: (event: Progress) => void, unit: "bytes" | "rows" | "problems"): Report {
  return (what, done, total) => report({ type: "progress", what, done, total, unit });
}
