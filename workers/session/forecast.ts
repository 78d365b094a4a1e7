import type { Job, JobPlan, PhasePlan } from "../../src/client/types.ts";
import { AbortError, QwenchError } from "../../src/errors.ts";
import { checkForecast } from "../../src/train/forecast/memory.ts";
import type { GpuHolder, OpenGpu } from "./gpu.ts";
import type { Library } from "./library.ts";
import { preparePhase } from "./phase.ts";
import type { RewardDesk } from "./reward-platform.ts";

/** Forecasts whether a job can run here and what it needs. Loads nothing on the GPU. @throws {AbortError} */
export async function forecastJob(
  job: Job,
  {
    library,
    holder,
    rewards,
    signal,
  }: { library: Library; holder: GpuHolder; rewards: RewardDesk; signal: AbortSignal },
): Promise<JobPlan> {
  const phases: PhasePlan[] = [];
  try {
    const opened = await holder.get();
    const { folder: model, missing } = await library.lookAtModel(job.model, { signal, report: () => {} });
    for (let index = 0; index < job.phases.length; index++) {
      const steps = preparePhase({ job, index, model, adapter: null, gpu: opened.gpu, library, rewards, signal });
      let next = await steps.next();
      while (!next.done) next = await steps.next();
      const { training, forecast, close } = next.value;
      await close();
      phases.push(forecast);
      checkForecast(training.prepared.forecast, availableMemory(opened, training.recipe.max_memory));
    }
    return { phases, fits: true, problem: null, download: missing };
  } catch (error) {
    if (error instanceof AbortError || !(error instanceof QwenchError)) throw error;
    return { phases, fits: false, problem: error.message, download: null };
  }
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
