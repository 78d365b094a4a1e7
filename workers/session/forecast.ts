import type { ForecastEvent, Job, JobPlan, TimePlan, WayOut } from "../../src/client/types.ts";
import { AbortError, BusyError, MemoryError, QwenchError } from "../../src/errors.ts";
import { openCheckpoint } from "../../src/io/checkpoint.ts";
import type { Folder } from "../../src/io/storage.ts";
import type { GrpoRecipe, Method, Recipe, SftRecipe } from "../../src/recipe/recipe.ts";
import { type DeviceTimes, measureTimes, recallTimes } from "../../src/session/device-times.ts";
import { knowsWidth, type MeasureOptions, WIDTHS } from "../../src/session/measure.ts";
import { waysOut } from "../../src/session/quick-forecast.ts";
import { forecastTime, type TimeInput, timeInputOf } from "../../src/session/time-forecast.ts";
import type { Training } from "../../src/session/train.ts";
import { checkForecast } from "../../src/train/forecast/memory.ts";
import type { GpuHolder, OpenGpu } from "./gpu.ts";
import { diskOf, heldOutOf } from "./job-costs.ts";
import type { Known } from "./known-rows.ts";
import type { Library } from "./library.ts";
import { preparePhase } from "./phase.ts";
import { quickPlan } from "./quick-plan.ts";
import { nameOfModel, phaseRecipe } from "./recipes.ts";
import { reporting } from "./reporting.ts";
import type { RewardDesk } from "./reward-platform.ts";
import { timesStore } from "./tuning.ts";

/** Inputs of a forecast. */
interface ForecastSources {
  library: Library;
  holder: GpuHolder;
  known: Known;
  rewards: RewardDesk;
  signal: AbortSignal;
}

/** Milliseconds before all rows are read: a later edit within them costs nothing. */
const SETTLE_MS = 250;

/**
 * Forecasts whether a job can run here and what it needs, in parts: at once what is known, then what all rows tell, then the time.
 * Loads no weights.
 *
 * @throws {AbortError}
 */
export async function* forecastJob(
  job: Job,
  sources: ForecastSources,
  { quick = false }: { quick?: boolean } = {},
): AsyncGenerator<ForecastEvent> {
  const { known, signal } = sources;
  const place = await placeOf(job, sources.holder);
  if ("problem" in place) {
    yield { type: "plan", plan: place };
    return;
  }
  const { opened, available, times, free } = place;
  const first = await quickPlan(job, { known, adapter: opened.gpu, available, times, free }).catch((error) => {
    if (error instanceof QwenchError) return null; // reading the rows tells it in full
    throw error;
  });
  signal.throwIfAborted();
  if (first) yield { type: "plan", plan: first };
  if (quick) return;
  await pause(SETTLE_MS, signal);
  yield* exactPlans(job, sources, place);
}

/** The same as one answer, without a measurement. @throws {AbortError} */
export async function planJob(job: Job, sources: ForecastSources): Promise<JobPlan> {
  const place = await placeOf(job, sources.holder);
  if ("problem" in place) return place;
  let last: JobPlan | null = null;
  for await (const event of exactPlans(job, sources, place, false)) if (event.type === "plan") last = event.plan;
  return last!;
}

const NOTHING: JobPlan = {
  phases: [],
  fits: true,
  problem: null,
  error: null,
  download: null,
  exact: true,
  available: null,
  disk: null,
  time: null,
  ways: [],
};

/** The machine that a job is forecast for; or, without a GPU or with a wrong recipe, the plan that says so. */
async function placeOf(job: Job, holder: GpuHolder): Promise<Place | JobPlan> {
  try {
    const available = memoryLimit(job);
    const opened = await holder.get();
    const times = await recallTimes(opened.gpu, timesStore());
    return { opened, available: availableMemory(opened, available), times, free: await freeStorage() };
  } catch (error) {
    if (error instanceof AbortError || !(error instanceof QwenchError)) throw error;
    return { ...NOTHING, fits: false, problem: error.message, error: error.name };
  }
}

interface Place {
  opened: OpenGpu;
  available: number | null;
  times: DeviceTimes;
  free: number | null;
}

async function* exactPlans(
  job: Job,
  { library, holder, known, rewards, signal }: ForecastSources,
  { opened, available, times, free }: Place,
  measures = true,
): AsyncGenerator<ForecastEvent> {
  const plan: JobPlan = { ...NOTHING, phases: [], available };
  const inputs: TimeInput[] = [];
  try {
    yield { type: "progress", what: "reading the model", done: 0, total: null };
    const { folder: model, missing } = await library.lookAtModel(job.model, { signal, report: () => {} });
    known.noteModel(job.model, { shape: (await openCheckpoint(model)).config, missing });
    for (let index = 0; index < job.phases.length; index++) {
      const training = yield* prepared(job, index, model, { opened, library, rewards, signal }, plan);
      const input = await timeInputOf(training);
      inputs.push(input);
      known.note(job, index, training, input.lengths);
      checkForecast(training.prepared.forecast, available);
    }
    plan.download = missing;
    if (free !== null) plan.disk = { run: diskOf(job, plan.phases), free };
  } catch (error) {
    if (error instanceof AbortError || !(error instanceof QwenchError)) throw error;
    yield { type: "plan", plan: { ...plan, fits: false, problem: error.message, error: error.name } };
    if (!(error instanceof MemoryError)) return;
    yield { type: "progress", what: "looking for a run that fits", done: 0, total: null };
    const ways = await waysOf(job, Math.max(0, plan.phases.length - 1), { opened, available, known, signal });
    yield { type: "plan", plan: { ...plan, fits: false, problem: error.message, error: error.name, ways } };
    return;
  }
  const timed = (from: DeviceTimes) => ({ ...plan, time: timeOf(job, inputs, from) });
  yield { type: "plan", plan: timed(times) };
  const { config } = inputs[0];
  if (!measures) return;
  let found = times;
  // the run's own width first; the page also offers models of the other
  for (const width of [config, ...WIDTHS]) {
    if (knowsWidth(found.rates, width)) continue;
    const made = yield* measuring(holder, width, signal);
    if (!made) return;
    found = made;
    yield { type: "plan", plan: timed(found) };
  }
}

/** Reads the rows of a phase, and adds its forecast to the plan. */
async function* prepared(
  job: Job,
  index: number,
  model: Folder,
  { opened, library, rewards, signal }: { opened: OpenGpu; library: Library; rewards: RewardDesk; signal: AbortSignal },
  plan: JobPlan,
): AsyncGenerator<ForecastEvent, Training> {
  const steps = preparePhase({ job, index, model, adapter: null, gpu: opened.gpu, library, rewards, signal });
  let next = await steps.next();
  while (!next.done) {
    const { what, done, total } = next.value;
    yield { type: "progress", what: `reading ${what}`, done, total };
    next = await steps.next();
  }
  plan.phases.push(next.value.forecast);
  await next.value.close();
  return next.value.training;
}

/** Measures the adapter, unless the GPU is in use. A run that begins meanwhile ends the measurement. */
async function* measuring(
  holder: GpuHolder,
  config: Pick<TimeInput["config"], "hidden_size">,
  signal: AbortSignal,
): AsyncGenerator<ForecastEvent, DeviceTimes | null> {
  const stop = new AbortController();
  let lent: Awaited<ReturnType<GpuHolder["lend"]>>;
  try {
    lent = await holder.lend("this GPU is being measured", stop);
  } catch (error) {
    if (error instanceof BusyError) return null;
    throw error;
  }
  try {
    return yield* reporting((report: (event: ForecastEvent) => void) => {
      const onProgress: MeasureOptions["onProgress"] = (done, total, what) =>
        report({
          type: "progress",
          what: what === "measuring" ? "measuring this GPU, once" : "measuring this GPU, once: compiling kernels",
          done,
          total,
        });
      const own = AbortSignal.any([signal, stop.signal]);
      return measureTimes(lent.gpu.again(), timesStore(), config, { signal: own, onProgress });
    });
  } catch (error) {
    if (stop.signal.aborted && !signal.aborted) return null;
    throw error;
  } finally {
    lent.end();
  }
}

/** The time of a job; null if its adapter was not measured at the model's width. */
function timeOf(job: Job, inputs: readonly TimeInput[], { rates, runs }: DeviceTimes): TimePlan | null {
  if (inputs.length === 0 || !knowsWidth(rates, inputs[0].config)) return null;
  const model = nameOfModel(job.model);
  const last = inputs.length - 1;
  const made = inputs.map((input, i) => {
    const heldOut = i === last ? heldOutOf(job, input.lengths.row) : null;
    const taught = inputs.slice(0, i).findLast(({ method }) => method === "sft");
    const completion = taught?.lengths.labelled ?? null; // the model answers as it was taught
    return forecastTime({ ...input, heldOut, completion }, rates, { earlier: runs, model });
  });
  const heldOut = made.reduce((sum, { parts }) => sum + parts.heldOut, 0);
  const phases = made.map(({ seconds, parts }) => seconds - parts.heldOut);
  return { seconds: heldOut + phases.reduce((a, b) => a + b, 0), phases, heldOut, basis: made[last].basis };
}

async function waysOf(
  job: Job,
  phase: number,
  {
    opened,
    available,
    known,
    signal,
  }: { opened: OpenGpu; available: number | null; known: Known; signal: AbortSignal },
): Promise<WayOut[]> {
  const seen = known.model(job.model);
  if (!seen) return [];
  const { method, recipe } = phaseRecipe(job, phase);
  const limit = method === "grpo" ? (recipe as GrpoRecipe).max_prompt_length : (recipe as SftRecipe).max_length;
  const rows = known.find(job, phase);
  const longest = rows ? rows.lengths.reduce((a, b) => Math.max(a, b), 1) : (limit ?? 512);
  const { limits } = opened.gpu;
  const found = await waysOut(recipe as Recipe<Method>, method, { shape: seen.shape, longest, limits }, available);
  signal.throwIfAborted();
  return found.map((way) => ({ phase, ...way }));
}

function memoryLimit(job: Job): number | null {
  return (phaseRecipe(job, 0).recipe as SftRecipe).max_memory;
}

async function freeStorage(): Promise<number | null> {
  const { quota, usage } = (await navigator.storage?.estimate?.().catch(() => null)) ?? {};
  return quota === undefined ? null : Math.max(0, quota - (usage ?? 0));
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        reject(new AbortError("Stopped: another forecast was asked for"));
      },
      { once: true },
    );
  });
}

/** Bytes that a tab can use on an iPhone before the system ends it. */
const PHONE_BYTES = 1.4e9;

/** Bytes available to a run; null if unknown, because browsers do not report GPU memory. */
export function availableMemory({ platform }: OpenGpu, max_memory: number | null): number | null {
  if (max_memory !== null) return max_memory * 1e9;
  if (/iPhone|iPod/.test(navigator.userAgent)) return PHONE_BYTES;
  const { deviceMemory } = navigator as { deviceMemory?: number };
  return platform.software && deviceMemory ? deviceMemory * 0.75 * 2 ** 30 : null;
}
