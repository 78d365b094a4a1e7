import type { Gpu } from "../gpu/device.ts";
import { type GrpoRecipe, generationOf } from "../recipe/recipe.ts";
import { medianStep, noteRun, recallTimes } from "./device-times.ts";
import { knowsWidth } from "./measure.ts";
import { forecastTime, timeInputOf } from "./time-forecast.ts";
import type { Training } from "./train.ts";
import type { TuningStore } from "./tune.ts";

/** Where a run's step times go. */
interface Timing {
  gpu: Gpu;
  training: Training;
  /** the base model's name */
  model: string;
  store: TuningStore;
}

/** Passes on a run's events and keeps what its steps took, which corrects later time forecasts. A short run tells nothing. */
export async function* timed<E extends { type: string }>(events: AsyncGenerator<E>, timing: Timing): AsyncGenerator<E> {
  const seconds: number[] = [];
  let last = performance.now();
  try {
    for await (const event of events) {
      if (event.type === "step") {
        const now = performance.now();
        seconds.push((now - last) / 1000);
        last = now;
      }
      yield event;
      // checkpoints and evaluations are no part of a step
      if (event.type === "checkpoint" || event.type === "eval") last = performance.now();
    }
  } finally {
    await keep(seconds, timing).catch(() => {}); // the next forecast is only less exact
  }
}

async function keep(seconds: readonly number[], { gpu, training, model, store }: Timing): Promise<void> {
  const taken = medianStep(seconds, periodOf(training));
  if (taken === null) return;
  const { rates } = await recallTimes(gpu, store);
  if (!knowsWidth(rates, training.prepared.config)) return;
  const { counted: forecast } = forecastTime(await timeInputOf(training), rates);
  await noteRun(gpu, store, { model, method: training.method, forecast, taken });
}

/** Steps that share one generation. */
function periodOf({ method, recipe }: Training): number {
  if (method !== "grpo") return 1;
  const { gradient_accumulation_steps, num_iterations } = recipe as GrpoRecipe;
  const { steps_per_generation } = generationOf(recipe as GrpoRecipe);
  return Math.max(1, Math.round((steps_per_generation * num_iterations) / gradient_accumulation_steps));
}
