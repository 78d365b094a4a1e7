import { AbortError, DataError, TrainingError } from "../../errors.ts";
import type { Folder } from "../../io/storage.ts";
import { gradNorm } from "../../kernels/optimizer/grad-norm.ts";
import { type GrpoRecipe, generationOf, resolveSteps } from "../../recipe/recipe.ts";
import { isBest, type LogRecord } from "../best.ts";
import {
  findCheckpoint,
  loadCheckpoint,
  saveCheckpoint,
  saveTrained,
  type Trainee,
  type TrainerState,
} from "../checkpoint.ts";
import { Means } from "../metrics.ts";
import { Optimizer } from "../optimizer.ts";
import { learningRate, scheduleOf } from "../schedule.ts";
import { GrpoPlan } from "./batches.ts";
import { bufferFile, type GenerationBuffer, readBuffer } from "./buffer.ts";
import { evaluateGrpo, fillBuffer, lossOptions } from "./fill-buffer.ts";
import { type GrpoResult, grpoObjective } from "./objective.ts";
import type { CompletionRecord, GrpoData } from "./rollout.ts";

export type { CompletionRecord, GrpoData, LogRecord };

export type GrpoEvent =
  | { type: "start"; max_steps: number; global_step: number }
  /** a generation batch was drawn and scored; `step`, from 1, is the first that trains on it */
  | { type: "generated"; step: number; records: CompletionRecord[] }
  | { type: "warning"; text: string }
  /** reward and completion_length: means of the newest generation batch, null where an earlier process drew it */
  | {
      type: "step";
      step: number;
      tokens: number;
      loss: number;
      reward: number | null;
      completion_length: number | null;
    }
  | { type: "log"; record: LogRecord }
  | { type: "eval"; record: LogRecord }
  | { type: "checkpoint"; name: string }
  | { type: "best"; name: string }
  | { type: "end"; record: LogRecord };

export interface GrpoOptions {
  signal?: AbortSignal;
  /** where checkpoints and the result go */
  output: Folder;
  /** true: the newest checkpoint of `output`; a folder: that one; null: from the start */
  resume: true | Folder | null;
  /** a checkpoint also when so many seconds have passed since the last one: where a process may die at any time */
  save_seconds?: number;
  now?: () => number;
  /** completions of the present batch that have ended */
  onProgress?: (what: string, done: number, total: number) => void;
}

/** What one optimizer step brought; state changes only once it is known to have run. */
interface StepOutcome {
  step: number;
  results: GrpoResult[];
  grad_norm: number;
  learning_rate: number;
  /** of the generation batches that were drawn for it */
  rollouts: Record<string, number>[];
  /** drawn and read for it: TRL's num_tokens */
  newTokens: number;
  /** that it trained on */
  tokens: number;
}

/**
 * Group relative policy optimization, one loop: draw completions, score them, take advantages, step.
 *
 * Stops at a step boundary when `signal` fires, or when a reward function fails: saves a checkpoint, then throws. A
 * checkpoint holds the generation batch that is still in use, so a resumed run repeats the numbers of one that was not
 * interrupted.
 *
 * @throws {TrainingError} a loss or gradient that is not finite: the step changed nothing; a reward function that fails
 * @throws {AbortError} the signal was aborted
 * @see Shao et al. 2024, arXiv:2402.03300; TRL's GRPOTrainer; DESIGN Appendix A
 */
export async function* grpo(
  trainee: Trainee,
  data: GrpoData,
  recipe: GrpoRecipe,
  options: GrpoOptions,
): AsyncGenerator<GrpoEvent> {
  const { model } = trainee;
  const { gpu } = model;
  const store = model.store!;
  const now = options.now ?? (() => performance.now());
  const plan = planOf(recipe, data);
  const schedule = scheduleOf(recipe, plan.max_steps);
  const optimizer = new Optimizer(gpu, store, recipe);
  const reference = recipe.beta === 0 ? null : model.withoutAdapter();
  const record = gpu.recorder();
  const fingerprint = plan.fingerprint(data.train);
  const means = new Means();
  const state = freshState(recipe, plan, fingerprint);
  let buffer: GenerationBuffer | null = null;
  if (options.resume) {
    const found = await findCheckpoint(options.output, options.resume, readBuffer);
    if (found.state.qwench.fingerprint !== fingerprint) {
      throw new DataError(
        `Cannot resume from ${found.folder.path}: it was trained on other prompts, or with other batch sizes, num_generations, steps_per_generation or num_iterations`,
      );
    }
    await loadCheckpoint(found.folder, trainee, optimizer);
    buffer = await readBuffer(found.folder);
    Object.assign(state, found.state, { max_steps: plan.max_steps });
    means.state = found.state.qwench.since_log;
    for (const [key, value] of Object.entries(found.state.qwench.tuning)) gpu.tuning.set(key, value);
  }
  yield { type: "start", max_steps: plan.max_steps, global_step: state.global_step };

  const every = {
    log: resolveSteps(recipe.logging_steps, plan.max_steps),
    eval:
      recipe.eval_strategy === "epoch"
        ? plan.stepsPerEpoch
        : resolveSteps(recipe.eval_steps ?? recipe.logging_steps, plan.max_steps),
    save: recipe.save_strategy === "epoch" ? plan.stepsPerEpoch : resolveSteps(recipe.save_steps, plan.max_steps),
  };
  const began = now();
  const tokensBefore = state.num_input_tokens_seen;
  let logBegan = { time: began, step: state.global_step };
  let inFlight: Promise<StepOutcome> | null = null;
  let newest: Record<string, number> | null = null;

  /** Takes in the step that is in flight; returns its events. */
  const take = async (): Promise<GrpoEvent[]> => {
    if (!inFlight) return [];
    const { step: index, results, grad_norm, learning_rate, rollouts, newTokens, tokens } = await inFlight;
    inFlight = null;
    gpu.check();
    const step = index + 1;
    const loss = results.reduce((sum, result) => sum + result.loss, 0);
    if (!Number.isFinite(loss) || !Number.isFinite(grad_norm)) {
      throw new TrainingError(
        `Training stopped at step ${step}: loss ${loss}, grad_norm ${grad_norm}. The step changed nothing; the last checkpoint is intact. Try a lower learning_rate (now ${learning_rate}) or max_grad_norm`,
      );
    }
    state.global_step = step;
    state.epoch = step / plan.stepsPerEpoch;
    state.num_input_tokens_seen += newTokens;
    means.add({ loss });
    for (const metrics of [...rollouts, ...results.map((result) => result.metrics)]) means.add(metrics);
    const events: GrpoEvent[] = [
      {
        type: "step",
        step,
        tokens,
        loss,
        reward: newest?.reward ?? null,
        completion_length: newest?.["completions/mean_length"] ?? null,
      },
    ];
    if (step % every.log === 0 || step === plan.max_steps) {
      const { loss: meanLoss, ...rest } = means.take();
      const log: LogRecord = {
        step,
        loss: meanLoss,
        grad_norm,
        learning_rate,
        ...rest,
        num_tokens: state.num_input_tokens_seen,
        epoch: state.epoch,
        step_time: (now() - logBegan.time) / 1000 / Math.max(1, step - logBegan.step),
      };
      logBegan = { time: now(), step };
      state.log_history.push(log);
      events.push({ type: "log", record: log });
    }
    return events;
  };

  const save = async (held: GenerationBuffer | null): Promise<GrpoEvent> => {
    state.qwench.since_log = means.state;
    state.qwench.tuning = Object.fromEntries(gpu.tuning);
    const next = plan.step(state.global_step)[0].generation;
    const extra = held?.generation === next ? bufferFile(held) : null;
    const name = await saveCheckpoint(options.output, trainee, optimizer, state, recipe.save_total_limit, extra);
    return { type: "checkpoint", name };
  };

  let saved = state.global_step;
  let savedAt = began;
  const overdue = () => now() - savedAt > 1000 * (options.save_seconds ?? Number.POSITIVE_INFINITY);
  let flat = 0;
  for (let step = state.global_step; step < plan.max_steps; step++) {
    const held = buffer;
    const rollouts: Record<string, number>[] = [];
    const results: Promise<GrpoResult>[] = [];
    const micro = plan.step(step);
    let [newTokens, tokens] = [0, 0];
    record.clear(store.grads);
    for (const [i, at] of micro.entries()) {
      if (buffer?.generation !== at.generation) {
        record.submit();
        yield* await take();
        try {
          const made = await fillBuffer(model, reference, data, recipe, plan, {
            generation: at.generation,
            step,
            signal: options.signal,
            onProgress: (done, total) => options.onProgress?.("completions", done, total),
          });
          buffer = made.buffer;
          newest = made.metrics;
          newTokens += made.tokens;
          rollouts.push(made.metrics);
          yield { type: "generated", step: step + 1, records: made.records };
          flat = made.metrics.frac_reward_zero_std === 1 ? flat + 1 : 0;
          if (flat === 1 || (flat > 1 && flat % 10 === 0)) yield { type: "warning", text: flatText(flat, step, made) };
          if (made.unscored > 0) {
            const text = `Step ${step + 1}: no reward function scored ${made.unscored} of ${made.records.length} completions; they teach nothing`;
            yield { type: "warning", text };
          }
        } catch (error) {
          // the step has changed nothing yet: what earlier ones did is kept
          const aborted = options.signal?.aborted === true;
          if ((aborted || error instanceof TrainingError) && saved < step) {
            yield await save(held);
            saved = step;
          }
          if (aborted) throw new AbortError(stoppedText(step, plan.max_steps, saved));
          throw error;
        }
      }
      const sequences = plan.slice(at).map((place) => buffer!.sequences[place]);
      tokens += sequences.reduce(
        (n, { prompt_ids, completion_ids }) => n + prompt_ids.length + completion_ids.length,
        0,
      );
      const result = grpoObjective(record, model, sequences, lossOptions(recipe, plan, buffer, micro.length, step, i));
      result.catch(() => {}); // awaited with the step; a fault in between must not end the process
      results.push(result);
    }
    const norm = record.scope(() => {
      const norm = gradNorm(record, [store.grads], recipe.max_grad_norm);
      optimizer.update(record, norm, learningRate(schedule, step), step + 1);
      return record.read(norm);
    });
    record.submit();
    gpu.endStep();
    const next = outcome(results, norm, {
      step,
      learning_rate: learningRate(schedule, step),
      rollouts,
      newTokens,
      tokens,
    });
    next.catch(() => {});
    yield* await take();
    inFlight = next;
    const done = step + 1;
    const last = done === plan.max_steps;
    const evalDue = data.eval !== null && recipe.eval_strategy !== "no" && (done % every.eval === 0 || last);
    const saveDue = overdue() || (recipe.save_strategy !== "no" && (done % every.save === 0 || last));
    const stop = options.signal?.aborted === true && !last;
    if (!evalDue && !saveDue && !stop && !last) continue;
    yield* await take();
    let improved = false;
    if (evalDue && !stop) {
      const record = await evaluateGrpo(model, data, recipe, state, now);
      state.log_history.push(record);
      improved = isBest(record, recipe, state, "reward");
      yield { type: "eval", record };
    }
    if (improved && saveDue) state.best_model_checkpoint = `checkpoint-${done}`;
    if (saveDue || (stop && saved < done)) {
      yield await save(buffer);
      saved = done;
      savedAt = now();
      logBegan.time = logBegan.step === done ? now() : logBegan.time;
    }
    if (stop) throw new AbortError(stoppedText(done, plan.max_steps, saved));
  }
  yield* await take();

  if (recipe.load_best_model_at_end && state.best_model_checkpoint) {
    await loadCheckpoint(options.output.folder(state.best_model_checkpoint), trainee, optimizer);
    yield { type: "best", name: state.best_model_checkpoint };
  }
  await saveTrained(options.output, trainee);
  const runtime = (now() - began) / 1000;
  yield {
    type: "end",
    record: {
      step: state.global_step,
      train_runtime: runtime,
      train_tokens_per_second: (state.num_input_tokens_seen - tokensBefore) / Math.max(1e-3, runtime),
      num_tokens: state.num_input_tokens_seen,
      epoch: state.epoch,
    },
  };
}

/** The plan of a recipe over its prompts. */
export function planOf(recipe: GrpoRecipe, data: Pick<GrpoData, "train">): GrpoPlan {
  const { steps_per_generation } = generationOf(recipe);
  return new GrpoPlan(data.train.length, { ...recipe, steps_per_generation });
}

async function outcome(
  results: readonly Promise<GrpoResult>[],
  norm: Promise<ArrayBuffer>,
  known: Omit<StepOutcome, "results" | "grad_norm">,
): Promise<StepOutcome> {
  return { ...known, results: await Promise.all(results), grad_norm: new Float32Array(await norm)[0] };
}

function freshState(recipe: GrpoRecipe, plan: GrpoPlan, fingerprint: number): TrainerState {
  return {
    global_step: 0,
    max_steps: plan.max_steps,
    epoch: 0,
    num_input_tokens_seen: 0,
    best_metric: null,
    best_model_checkpoint: null,
    log_history: [],
    qwench: { version: 1, seed: recipe.seed, fingerprint, since_log: {}, tuning: {} },
  };
}

function stoppedText(step: number, steps: number, saved: number): string {
  if (step === 0) return "Stopped before the first step; nothing was written";
  return `Stopped after step ${step} of ${steps}; checkpoint-${saved} holds everything`;
}

function flatText(flat: number, step: number, { metrics }: { metrics: Record<string, number> }): string {
  const since = flat > 1 ? ` for ${flat} generation batches in a row` : "";
  return `Step ${step + 1}: all completions of each prompt got the same reward${since} (mean ${metrics.reward.toFixed(3)}), so every advantage is 0 and there is nothing to learn from: a loss of 0 is no success. Prompts that are neither always nor never solved, a higher temperature, more num_generations or a reward with finer steps would help`;
}
