import type { TokenizedRow } from "../../data/tokenize.ts";
import { AbortError, DataError, TrainingError } from "../../errors.ts";
import type { Folder } from "../../io/storage.ts";
import { resolveSteps, type SftRecipe } from "../../recipe/recipe.ts";
import { isBest, type LogRecord } from "../best.ts";
import {
  findCheckpoint,
  loadCheckpoint,
  saveCheckpoint,
  saveTrained,
  type Trainee,
  type TrainerState,
} from "../checkpoint.ts";
import { Optimizer } from "../optimizer.ts";
import { learningRate, scheduleOf } from "../schedule.ts";
import { BatchPlan } from "./batches.ts";
import { evalBatches, evaluate, type StepResult, sftStep } from "./step.ts";

export type { LogRecord };

export type SftEvent =
  | { type: "start"; max_steps: number; global_step: number }
  /** each step, as soon as its numbers are back: one step late */
  | { type: "step"; step: number; tokens: number; loss: number }
  | { type: "log"; record: LogRecord }
  | { type: "eval"; record: LogRecord }
  | { type: "checkpoint"; name: string }
  | { type: "best"; name: string }
  | { type: "end"; record: LogRecord };

export interface SftOptions {
  signal?: AbortSignal;
  /** where checkpoints and the result go */
  output: Folder;
  /** true: the newest checkpoint of `output`; a folder: that one; null: from the start */
  resume: true | Folder | null;
  /** a checkpoint also when so many seconds have passed since the last one: where a process may die at any time */
  save_seconds?: number;
  now?: () => number;
}

/** Rows to learn from and rows to measure by. */
export interface SftData {
  train: readonly TokenizedRow[];
  eval: readonly TokenizedRow[] | null;
}

/** Sums since the last log. */
interface SinceLog extends Record<string, number> {
  steps: number;
  loss: number;
  mean_token_accuracy: number;
  entropy: number;
}

const emptySums = (): SinceLog => ({ steps: 0, loss: 0, mean_token_accuracy: 0, entropy: 0 });

/**
 * Supervised fine-tuning, one loop: batches, steps, logs, evaluation, checkpoints.
 *
 * Stops at a step boundary when `signal` fires: saves a checkpoint, then throws AbortError. Each step's numbers are read
 * one step late, so the queue never runs dry.
 *
 * @throws {TrainingError} a loss or gradient that is not finite: the step changed nothing, the last checkpoint stands
 */
export async function* sft(
  trainee: Trainee,
  data: SftData,
  recipe: SftRecipe,
  options: SftOptions,
): AsyncGenerator<SftEvent> {
  const { model } = trainee;
  const { gpu } = model;
  const now = options.now ?? (() => performance.now());
  const plan = new BatchPlan(data.train, recipe);
  const schedule = scheduleOf(recipe, plan.max_steps);
  const optimizer = new Optimizer(gpu, model.store!, recipe);
  const record = gpu.recorder();
  const state = freshState(recipe, plan);
  let sums = emptySums();
  if (options.resume) {
    const found = await findCheckpoint(options.output, options.resume);
    if (found.state.qwench.fingerprint !== plan.fingerprint()) {
      throw new DataError(
        `Cannot resume from ${found.folder.path}: it was trained on other rows, or on the same ones cut or packed otherwise`,
      );
    }
    await loadCheckpoint(found.folder, trainee, optimizer);
    Object.assign(state, found.state, { max_steps: plan.max_steps });
    sums = found.state.qwench.since_log as SinceLog;
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
  let logBegan = { time: began, tokens: tokensBefore };
  let inFlight: Promise<StepResult> | null = null;

  /** Takes in the step that is in flight; returns its events. */
  const take = async (): Promise<SftEvent[]> => {
    if (!inFlight) return [];
    const result = await inFlight;
    inFlight = null;
    gpu.check();
    const step = result.step + 1;
    if (!Number.isFinite(result.loss) || !Number.isFinite(result.grad_norm)) {
      throw new TrainingError(
        `Training stopped at step ${step}: loss ${result.loss}, grad_norm ${result.grad_norm}. The step changed nothing; the last checkpoint is intact. Try a lower learning_rate (now ${result.learning_rate}) or max_grad_norm`,
      );
    }
    state.global_step = step;
    state.epoch = step / plan.stepsPerEpoch;
    state.num_input_tokens_seen += result.tokens;
    sums.steps++;
    for (const name of ["loss", "mean_token_accuracy", "entropy"] as const) sums[name] += result[name];
    const events: SftEvent[] = [{ type: "step", step, tokens: result.tokens, loss: result.loss }];
    if (step % every.log === 0 || step === plan.max_steps) {
      const seconds = (now() - logBegan.time) / 1000;
      const log: LogRecord = {
        step,
        loss: sums.loss / sums.steps,
        grad_norm: result.grad_norm,
        learning_rate: result.learning_rate,
        mean_token_accuracy: sums.mean_token_accuracy / sums.steps,
        entropy: sums.entropy / sums.steps,
        num_tokens: state.num_input_tokens_seen,
        epoch: state.epoch,
        tokens_per_second: (state.num_input_tokens_seen - logBegan.tokens) / Math.max(1e-3, seconds),
      };
      sums = emptySums();
      logBegan = { time: now(), tokens: state.num_input_tokens_seen };
      state.log_history.push(log);
      events.push({ type: "log", record: log });
    }
    return events;
  };

  const save = async (): Promise<SftEvent> => {
    state.qwench.since_log = { ...sums };
    state.qwench.tuning = Object.fromEntries(gpu.tuning);
    const name = await saveCheckpoint(options.output, trainee, optimizer, state, recipe.save_total_limit);
    return { type: "checkpoint", name };
  };

  let saved = state.global_step;
  let savedAt = began;
  const overdue = () => now() - savedAt > 1000 * (options.save_seconds ?? Number.POSITIVE_INFINITY);
  for (let step = state.global_step; step < plan.max_steps; step++) {
    const micro = plan.step(step);
    const next = sftStep(record, model, optimizer, micro, {
      step,
      learning_rate: learningRate(schedule, step),
      max_grad_norm: recipe.max_grad_norm,
      label_smoothing_factor: recipe.label_smoothing_factor,
      neftune_noise_alpha: recipe.neftune_noise_alpha,
      seed: recipe.seed,
    });
    next.catch(() => {}); // awaited below; a fault in between must not end the process
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
    if (evalDue) {
      const measured = await evalRecord(trainee, data.eval!, recipe, state, now);
      state.log_history.push(measured);
      improved = isBest(measured, recipe, state);
      yield { type: "eval", record: measured };
    }
    if (improved && saveDue) state.best_model_checkpoint = `checkpoint-${done}`;
    if (saveDue || (stop && saved < done)) {
      yield await save();
      saved = done;
      savedAt = now();
      logBegan = { time: now(), tokens: state.num_input_tokens_seen };
    }
    if (stop)
      throw new AbortError(`Stopped after step ${done} of ${plan.max_steps}; checkpoint-${done} holds everything`);
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

function freshState(recipe: SftRecipe, plan: BatchPlan): TrainerState {
  return {
    global_step: 0,
    max_steps: plan.max_steps,
    epoch: 0,
    num_input_tokens_seen: 0,
    best_metric: null,
    best_model_checkpoint: null,
    log_history: [],
    qwench: { version: 1, seed: recipe.seed, fingerprint: plan.fingerprint(), since_log: emptySums(), tuning: {} },
  };
}

async function evalRecord(
  trainee: Trainee,
  rows: readonly TokenizedRow[],
  recipe: SftRecipe,
  state: TrainerState,
  now: () => number,
): Promise<LogRecord> {
  const began = now();
  const measured = await evaluate(
    trainee.model,
    evalBatches(rows, recipe.per_device_eval_batch_size),
    recipe.label_smoothing_factor,
  );
  return {
    step: state.global_step,
    eval_loss: measured.loss,
    eval_mean_token_accuracy: measured.mean_token_accuracy,
    eval_entropy: measured.entropy,
    eval_runtime: (now() - began) / 1000,
    epoch: state.epoch,
  };
}
