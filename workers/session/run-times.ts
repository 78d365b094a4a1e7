import type { RunEvent } from "../../src/client/types.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import { type GrpoRecipe, generationOf } from "../../src/recipe/recipe.ts";
import { medianStep, noteRun, recallTimes } from "../../src/session/device-times.ts";
import { knowsWidth } from "../../src/session/measure.ts";
import { forecastTime, timeInputOf } from "../../src/session/time-forecast.ts";
import type { Training } from "../../src/session/train.ts";
import { timesStore } from "./tuning.ts";

/** Passes on a phase's events and keeps what its steps took, which corrects later time forecasts. A short run tells nothing. */
export async function* timed(
  events: AsyncGenerator<RunEvent>,
  gpu: Gpu,
  training: Training,
  model: string,
): AsyncGenerator<RunEvent> {
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
      // what the page and checkpoints take is no part of a step
      if (event.type === "checkpoint" || event.type === "eval") last = performance.now();
    }
  } finally {
    await keep(seconds, gpu, training, model).catch(() => {}); // the next forecast is only less exact
  }
}

async function keep(seconds: readonly number[], gpu: Gpu, training: Training, model: string): Promise<void> {
  const taken = medianStep(seconds, periodOf(training));
  const store = timesStore();
  const { rates } = await recallTimes(gpu, store);
  const input = await timeInputOf(training);
  if (taken === null || !knowsWidth(rates, input.config)) return;
  const { counted: forecast } = forecastTime(input, rates);
  await noteRun(gpu, store, { model, method: training.method, forecast, taken });
}

/** Steps that share one generation. */
function periodOf({ method, recipe }: Training): number {
  if (method !== "grpo") return 1;
  const { gradient_accumulation_steps, num_iterations } = recipe as GrpoRecipe;
  const { steps_per_generation } = generationOf(recipe as GrpoRecipe);
  return Math.max(1, Math.round((steps_per_generation * num_iterations) / gradient_accumulation_steps));
}
