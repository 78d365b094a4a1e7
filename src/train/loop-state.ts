import { AbortError, DataError, TrainingError } from "../errors.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Folder } from "../io/storage.ts";
import type { SftRecipe } from "../recipe/recipe.ts";
import { comparedBy, metricOf } from "./best.ts";
import {
  findCheckpoint,
  loadCheckpoint,
  orderOf,
  roundingOf,
  saveCheckpoint,
  saveResult,
  sweepOutput,
  type Trainee,
  type TrainerState,
} from "./checkpoint.ts";
import { type Due, type DueFields, dueOf } from "./due.ts";
import { EarlyStopping } from "./early-stopping.ts";
import type { StepContext, StepResult, TrainEvent, TrainingMethod, TrainOptions } from "./method.ts";
import type { LogRecord } from "./metrics.ts";
import { Optimizer, type OptimizerOptions } from "./optimizer.ts";
import { Plateau, type PlateauOptions } from "./plateau.ts";
import { learningRate, type Schedule, type ScheduleFields, scheduleOf } from "./schedule.ts";
import type { Mark } from "./speed.ts";

/** Fields of a recipe that the loop reads, for every method. */
export type LoopRecipe = DueFields &
  OptimizerOptions &
  ScheduleFields &
  Pick<
    SftRecipe,
    | "seed"
    | "save_total_limit"
    | "metric_for_best_model"
    | "greater_is_better"
    | "load_best_model_at_end"
    | "eval_on_start"
    | "early_stopping_patience"
    | "early_stopping_threshold"
  >;

/** What an evaluation comes to. */
interface Evaluated {
  record: LogRecord;
  /** whether it is the best so far */
  improved: boolean;
  /** what to say where the run is to stop early */
  stop: string | null;
}

/** A run's state between two steps, and its operations. `train` decides their order. */
export class LoopState<E, R extends StepResult> {
  private readonly trainee: Trainee;
  private readonly method: TrainingMethod<E, R>;
  private readonly recipe: LoopRecipe;
  private readonly options: TrainOptions;
  private readonly schedule: Schedule;
  private readonly optimizer: Optimizer;
  private readonly record: Recorder;
  private readonly dueAfter: (done: number) => Due;
  private readonly now: () => number;
  private readonly state: TrainerState;
  /** the metric that evaluations are compared by */
  private readonly metric: { name: string; greater: boolean };
  private readonly stopping: EarlyStopping | null;
  private readonly plateau: Plateau | null;
  private inFlight: Promise<R> | null = null;
  /** the step that was started last, from 0, and its start time */
  private begun = { step: -1, time: 0 };
  private began: Mark = { time: 0, step: 0, tokens: 0 };
  /** the last checkpoint: its step, and when it was written */
  private checkpoint = { step: 0, time: 0 };

  constructor(trainee: Trainee, method: TrainingMethod<E, R>, recipe: LoopRecipe, options: TrainOptions) {
    const { gpu, store } = trainee.model;
    const { max_steps } = method.batches;
    this.trainee = trainee;
    this.method = method;
    this.recipe = recipe;
    this.options = options;
    this.now = options.now ?? (() => performance.now());
    this.schedule = scheduleOf(recipe, max_steps);
    this.optimizer = new Optimizer(gpu, store!, recipe);
    this.record = gpu.recorder();
    this.dueAfter = dueOf(recipe, method.batches);
    this.metric = comparedBy(recipe, method.bestMetric);
    const { seed, early_stopping_patience, early_stopping_threshold } = recipe;
    this.stopping =
      early_stopping_patience === null
        ? null
        : new EarlyStopping({ early_stopping_patience, early_stopping_threshold });
    const falling = { mode: this.metric.greater ? "max" : "min", ...recipe.lr_scheduler_kwargs } as PlateauOptions;
    const onPlateau = recipe.lr_scheduler_type === "reduce_lr_on_plateau";
    this.plateau = onPlateau ? new Plateau(recipe.learning_rate, falling) : null;
    this.state = {
      global_step: 0,
      max_steps,
      epoch: 0,
      num_input_tokens_seen: 0,
      best_metric: null,
      best_model_checkpoint: null,
      log_history: [],
      qwench: {
        version: 1,
        seed,
        order: orderOf(recipe),
        rounding: roundingOf(gpu),
        fingerprint: method.fingerprint,
        since_log: method.sinceLog,
        tuning: {},
      },
    };
  }

  /** Optimizer steps whose results were read. */
  get global_step(): number {
    return this.state.global_step;
  }

  /** The step of the last checkpoint, or the step at which the run began. */
  get saved(): number {
    return this.checkpoint.step;
  }

  /** Restores a checkpoint. @throws {DataError} the checkpoint was trained on other data */
  async restore(which: true | Folder): Promise<void> {
    const { method, trainee, state } = this;
    const found = await findCheckpoint(this.options.output, which, async (folder) => method.verify?.(folder));
    if (found.state.qwench.fingerprint !== method.fingerprint)
      throw new DataError(`Cannot resume from ${found.folder.path}: it was trained on ${method.otherData}`);
    await loadCheckpoint(found.folder, trainee, this.optimizer);
    await method.restore?.(found.folder);
    const { seed, order, rounding } = state.qwench;
    Object.assign(state, found.state, { max_steps: method.batches.max_steps });
    // from here on, rows come in this run's order, and the device rounds as it does now
    state.qwench = { ...found.state.qwench, seed, order, rounding };
    method.sinceLog = found.state.qwench.since_log;
    this.stopping?.resume(found.state.stateful_callbacks?.EarlyStoppingCallback);
    const { plateau } = found.state.qwench;
    if (this.plateau && plateau) this.plateau.state = plateau;
    for (const [key, value] of Object.entries(found.state.qwench.tuning)) trainee.model.gpu.tuning.set(key, value);
  }

  /** Removes partial files of an earlier process, and starts the clock. */
  async begin(): Promise<void> {
    await sweepOutput(this.options.output);
    this.began = this.mark();
    this.method.speed.begin(this.began);
    this.checkpoint = { step: this.global_step, time: this.began.time };
  }

  /** The inputs of step `step`, from 0. */
  contextOf(step: number): StepContext<E> {
    this.begun = { step, time: this.now() };
    return {
      step,
      learning_rate: this.plateau?.state.learning_rate ?? learningRate(this.schedule, step),
      record: this.record,
      optimizer: this.optimizer,
      signal: this.options.signal,
      settle: () => this.settle(),
      giveUp: (error) => this.giveUp(error),
    };
  }

  /** A step is in flight. */
  submitted(result: Promise<R>): void {
    this.inFlight = result;
  }

  /**
   * Waits for the step in flight, if any, and reads its results.
   *
   * @throws {TrainingError} numbers that are not finite
   */
  async *settle(): AsyncGenerator<TrainEvent | E> {
    if (!this.inFlight) return;
    const { method, state } = this;
    const asked = this.now();
    const result = await this.inFlight;
    const finished = this.finishedAt(result.step, asked);
    this.inFlight = null;
    this.trainee.model.gpu.check();
    const { loss, grad_norm, learning_rate } = result;
    const step = result.step + 1;
    if (!Number.isFinite(loss) || !Number.isFinite(grad_norm)) {
      throw new TrainingError(
        `Training stopped at step ${step}: loss ${loss}, grad_norm ${grad_norm}. The step changed nothing; the last checkpoint is intact. Try a lower learning_rate (now ${learning_rate}) or max_grad_norm`,
      );
    }
    state.global_step = step;
    state.epoch = method.batches.epochAfter(step);
    state.num_input_tokens_seen += result.num_tokens ?? result.tokens;
    const taken = method.taken(result);
    const record = this.dueAfter(step).log ? this.log(result, finished) : null;
    yield taken;
    if (record) yield { type: "log", record };
  }

  /**
   * The time at which the GPU finished a step that was just read. If the result was ready at once, it arrived while the
   * next step was recorded: then the start of that recording counts. (Otherwise a step that is read right after the
   * previous step, because a checkpoint is due, would seem to take no time.)
   */
  private finishedAt(step: number, asked: number): number {
    const now = this.now();
    const { begun } = this;
    const ready = 10 * (now - asked) < asked - begun.time;
    return begun.step > step && ready ? begun.time : now;
  }

  /** @param finished end of the step's work, in milliseconds */
  private log({ grad_norm, learning_rate }: R, finished: number): LogRecord {
    const { state, method } = this;
    const { loss, ...rest } = method.means();
    const record: LogRecord = {
      step: state.global_step,
      loss,
      grad_norm,
      learning_rate,
      ...rest,
      num_tokens: state.num_input_tokens_seen,
      epoch: state.epoch,
      ...method.speed.log({ ...this.mark(), time: finished }),
    };
    state.log_history.push(record);
    return record;
  }

  /** Actions due after `done` steps: by step number, and by the time since the last checkpoint. */
  due(done: number): Due {
    const due = this.dueAfter(done);
    const { save_seconds = Number.POSITIVE_INFINITY } = this.options;
    const overdue = this.now() - this.checkpoint.time > 1000 * save_seconds;
    return { ...due, evaluate: due.evaluate && this.method.evaluates, save: due.save || overdue };
  }

  /** Evaluates, and compares with the best so far. */
  async evaluate(): Promise<Evaluated> {
    const record = await this.measure();
    const { state, plateau } = this;
    const { name, greater } = this.metric;
    const value = metricOf(record, name);
    if (value === null) return { record, improved: false, stop: null };
    const { best_metric: best, global_step, max_steps } = state;
    const done = this.stopping?.step({ value, greater, best }) ?? false;
    plateau?.step(value);
    const improved = best === null || (greater ? value > best : value < best);
    if (improved) state.best_metric = value;
    return { record, improved, stop: done ? this.stopping!.text(name, global_step, max_steps) : null };
  }

  /** An evaluation that is compared with no other. */
  async measure(): Promise<LogRecord> {
    const { state, method } = this;
    const began = this.now();
    const measured = Object.entries(await method.evaluate(state.global_step));
    const record: LogRecord = {
      step: state.global_step,
      ...Object.fromEntries(measured.map(([name, value]) => [`eval_${name}`, value])),
      eval_runtime: (this.now() - began) / 1000,
      epoch: state.epoch,
    };
    state.log_history.push(record);
    method.speed.paused(this.mark());
    return record;
  }

  /** Marks the next checkpoint as the best. */
  keepAsBest(step: number): void {
    this.state.best_model_checkpoint = `checkpoint-${step}`;
  }

  /** Writes a checkpoint of the steps whose results were read. */
  async *save(): AsyncGenerator<TrainEvent> {
    const { state, method, trainee, optimizer } = this;
    const step = state.global_step;
    state.qwench.since_log = method.sinceLog;
    if (this.plateau) state.qwench.plateau = this.plateau.state;
    if (this.stopping) state.stateful_callbacks = { EarlyStoppingCallback: this.stopping.state };
    state.qwench.tuning = Object.fromEntries(trainee.model.gpu.tuning);
    const limit = this.recipe.save_total_limit;
    const files = method.files?.(step);
    const name = await saveCheckpoint(this.options.output, trainee, optimizer, state, limit, files);
    yield { type: "checkpoint", name };
    const mark = this.mark();
    this.checkpoint = { step, time: mark.time };
    method.speed.paused(mark);
  }

  /** Ends the run at a step that could not be recorded. @returns the error to throw */
  private async *giveUp(error: unknown): AsyncGenerator<TrainEvent, unknown> {
    const aborted = this.options.signal?.aborted === true;
    if ((aborted || error instanceof TrainingError) && this.saved < this.global_step) yield* this.save();
    return aborted ? new AbortError(this.stoppedText()) : error;
  }

  stoppedText(): string {
    const { global_step, max_steps } = this.state;
    if (global_step === 0) return "Stopped before the first step; nothing was written";
    return `Stopped after step ${global_step} of ${max_steps}; checkpoint-${this.saved} holds everything`;
  }

  /** Restores the best checkpoint, if there is one. */
  async *loadBest(): AsyncGenerator<TrainEvent> {
    const name = this.state.best_model_checkpoint;
    if (!name) return;
    await loadCheckpoint(this.options.output.folder(name), this.trainee, this.optimizer);
    yield { type: "best", name };
  }

  /** Writes the result. @returns the record of the whole run */
  async finish(): Promise<LogRecord> {
    await saveResult(this.options.output, this.trainee);
    const { step, time, tokens } = this.mark();
    const runtime = (time - this.began.time) / 1000;
    return {
      step,
      train_runtime: runtime,
      train_tokens_per_second: (tokens - this.began.tokens) / Math.max(1e-3, runtime),
      num_tokens: tokens,
      epoch: this.state.epoch,
    };
  }

  private mark(): Mark {
    return { time: this.now(), step: this.state.global_step, tokens: this.state.num_input_tokens_seen };
  }
}
