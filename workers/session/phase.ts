import type { Job, PhasePlan, RunEvent } from "../../src/client/types.ts";
import { RecipeError } from "../../src/errors.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import type { Folder } from "../../src/io/storage.ts";
import { rewardNamed } from "../../src/rewards/registry.ts";
import { grpo, loadGrpo, type PreparedGrpo, prepareGrpo } from "../../src/session/grpo.ts";
import { loadSft, type PreparedSft, prepareSft, sft } from "../../src/session/open.ts";
import { checkpointNames, type Trainee } from "../../src/train/checkpoint.ts";
import { withoutHeldOut } from "./held-out.ts";
import type { Library, Report } from "./library.ts";
import { nameOfModel, type PhaseRecipe, phaseRecipe } from "./recipes.ts";
import { reporting } from "./reporting.ts";
import { PageRewardHost } from "./reward-host.ts";

/** What a phase is made from. */
export interface PhaseInput {
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
export type PreparedPhase = { plan: PhasePlan; input: PhaseInput } & (
  | { made: Extract<PhaseRecipe, { method: "sft" }>; prepared: PreparedSft }
  | { made: Extract<PhaseRecipe, { method: "grpo" }>; prepared: PreparedGrpo; host: PageRewardHost }
);

type Progress = Extract<RunEvent, { type: "progress" }>;

/** Seconds of work that a crash may cost. */
const SAVE_SECONDS = 30;

/** Reads rows and headers, and forecasts. @throws what is wrong with the recipe, the model or the rows */
export async function* preparePhase(input: PhaseInput): AsyncGenerator<Progress, PreparedPhase> {
  const { job, index, model, adapter, gpu, library, signal } = input;
  const made = phaseRecipe(job, index);
  const { data } = job.phases[index];
  return yield* reporting(async (report) => {
    const fetching = { signal, report: asProgress(report, "bytes") };
    const onProgress = asProgress(report, "rows");
    const train = withoutHeldOut(await library.openRows(data, "train", fetching), job, index);
    const measured = made.recipe.eval_strategy !== "no";
    if (measured && data.kind !== "hub" && data.kind !== "embedded") {
      throw new RecipeError(
        `eval_strategy is ${made.recipe.eval_strategy}, and a file of your own has no test split: set it to no; held-out problems are solved all the same`,
      );
    }
    const held = measured
      ? await library.openRows({ ...data, ...(data.kind === "hub" ? { split: "test" } : {}) }, "test", fetching)
      : null;
    const sources = { gpu, model, adapter, train, eval: held, signal, onProgress };
    if (made.method === "sft") {
      const prepared = await prepareSft(made.recipe, sources);
      return {
        made,
        prepared,
        plan: planOf(made, prepared, prepared.train.rows.length, prepared.plan.max_steps),
        input,
      };
    }
    const names = (made.recipe.reward_funcs as readonly string[] | null) ?? [];
    const host = new PageRewardHost(library.options.assets);
    const rewards = names.map((name) => rewardNamed(name, made.recipe, host));
    const prepared = await prepareGrpo(made.recipe, { ...sources, rewards });
    const plan = planOf(made, prepared, prepared.data.train.length, prepared.plan.max_steps);
    return { made, prepared, host, plan, input };
  });
}

/** Puts the weights of a prepared phase on the GPU. */
export async function* loadPhase({ made, prepared, input }: PreparedPhase): AsyncGenerator<Progress, Trainee> {
  const { gpu, job, signal } = input;
  const base = nameOfModel(job.model);
  return yield* reporting((report) => {
    const sources = { gpu, signal, onProgress: asProgress(report, "bytes") };
    return made.method === "sft"
      ? loadSft(made.recipe, prepared as PreparedSft, sources, base)
      : loadGrpo(made.recipe, prepared as PreparedGrpo, sources, base);
  });
}

/**
 * Trains one phase from its newest checkpoint, or from the start.
 *
 * @param output where its checkpoints and its adapter go
 * @throws {AbortError} the signal fired: a checkpoint was saved
 */
export async function* trainPhase(phase: PreparedPhase, trainee: Trainee, output: Folder): AsyncGenerator<RunEvent> {
  const { made, prepared, plan, input } = phase;
  const { index, signal } = input;
  const resume = (await checkpointNames(output)).length > 0 ? (true as const) : null;
  const options = { signal, output, resume, save_seconds: SAVE_SECONDS };
  let drawn: Progress | null = null;
  const onProgress = (what: string, done: number, total: number) => {
    drawn = { type: "progress", what, done, total, unit: "completions" };
  };
  const events =
    made.method === "sft"
      ? sft(trainee, (prepared as PreparedSft).data, made.recipe, options)
      : grpo(trainee, (prepared as PreparedGrpo).data, made.recipe, { ...options, onProgress });
  // completions are counted while a step is awaited, so both are looked at
  for (let next = events.next(); ; ) {
    const result = await Promise.race([next, tick()]);
    if (drawn) yield drawn;
    drawn = null;
    if (result === null) continue;
    if (result.done) return;
    const event = result.value;
    switch (event.type) {
      case "start":
        yield {
          type: "phase",
          phase: index,
          method: made.method,
          max_steps: event.max_steps,
          global_step: event.global_step,
          plan,
        };
        break;
      case "step": {
        const reward = "reward" in event ? event.reward : null;
        yield { type: "step", phase: index, step: event.step, tokens: event.tokens, loss: event.loss, reward };
        break;
      }
      case "log":
      case "eval":
        yield { type: event.type, phase: index, record: event.record };
        break;
      case "generated":
        yield { type: "generated", phase: index, step: event.step, records: event.records };
        break;
      case "warning":
        yield event;
        break;
      case "checkpoint":
        yield { type: "checkpoint", phase: index, step: Number(event.name.split("-").at(-1)) };
        break;
      case "best":
        yield { type: "note", text: `Took back the best model, ${event.name}` };
        break;
      case "end":
        break;
    }
    next = events.next();
  }
}

/** Milliseconds between two looks at what is under way. */
const LOOK_MS = 250;
const tick = () => new Promise<null>((resolve) => setTimeout(() => resolve(null), LOOK_MS));

function planOf(
  { method, notes }: PhaseRecipe,
  { forecast, notes: found }: PreparedSft | PreparedGrpo,
  rows: number,
  max_steps: number,
): PhasePlan {
  const { peak, byKind, trainable, parameters } = forecast;
  return {
    method,
    memory: { peak, byKind: { ...byKind } },
    trainable,
    parameters,
    rows,
    max_steps,
    notes: [...notes, ...found],
  };
}

/** Reports of lower floors, which count bytes where they know a total and rows where they do not. */
export function asProgress(report: (event: Progress) => void, unit: "bytes" | "rows" | "problems"): Report {
  return (what, done, total) => report({ type: "progress", what, done, total, unit });
}
