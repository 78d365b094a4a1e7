import type { Recorder } from "../gpu/recorder.ts";
import type { Folder } from "../io/storage.ts";
import type { ExtraFile } from "./checkpoint.ts";
import type { LogRecord } from "./metrics.ts";
import type { Optimizer } from "./optimizer.ts";
import type { Speed } from "./speed.ts";

/** Options of a run, for every method. */
export interface TrainOptions {
  signal?: AbortSignal;
  /** folder for checkpoints and the result */
  output: Folder;
  /** true: the newest checkpoint of `output`; a folder: that checkpoint; null: start from step 0 */
  resume: true | Folder | null;
  /** also write a checkpoint this many seconds after the last: for processes that may die at any time */
  save_seconds?: number;
  now?: () => number;
}

/** Events of every method. Each method adds its `step` event, and may add others. */
export type TrainEvent =
  | { type: "start"; max_steps: number; global_step: number }
  | { type: "log"; record: LogRecord }
  | { type: "eval"; record: LogRecord }
  | { type: "checkpoint"; name: string }
  | { type: "best"; name: string }
  | { type: "note"; text: string }
  | { type: "end"; record: LogRecord };

/** The results of one optimizer step, once the GPU has run it. */
export interface StepResult {
  /** optimizer step, from 0 */
  step: number;
  loss: number;
  /** before clipping */
  grad_norm: number;
  learning_rate: number;
  /** tokens that the step trained on */
  tokens: number;
  /** tokens to add to `num_tokens`; absent: `tokens` */
  num_tokens?: number;
}

/** The loop's inputs for a step. `E`: the method's own events. */
export interface StepContext<E> {
  /** optimizer step, from 0 */
  step: number;
  learning_rate: number;
  record: Recorder;
  optimizer: Optimizer;
  signal?: AbortSignal;
  /** Reads the results of the previous step, before work that waits for the GPU anyway. */
  settle(): AsyncGenerator<TrainEvent | E>;
  /**
   * Ends the run at a step that has changed nothing yet. Saves the earlier steps if the signal fired or the error is a
   * TrainingError. The method must first restore its state from before the step.
   *
   * @returns the error to throw
   */
  giveUp(error: unknown): AsyncGenerator<TrainEvent | E, unknown>;
}

/** A submitted step. Its results arrive later. */
export interface Submitted<R> {
  result: Promise<R>;
}

/**
 * A learning algorithm for the loop of `train`: its batches, step, evaluation and state.
 *
 * Each run needs a new method object. `E`: its own events, including the step's. `R`: the results of a step.
 */
export interface TrainingMethod<E, R extends StepResult = StepResult> {
  readonly batches: {
    readonly max_steps: number;
    /** optimizer steps of one pass over the data */
    readonly stepsPerEpoch: number;
    /** `epoch` of the logs after this many optimizer steps */
    epochAfter(steps: number): number;
  };
  /** a number that changes with the data or their order */
  readonly fingerprint: number;
  /** the data behind a checkpoint with another fingerprint, for an error message */
  readonly otherData: string;
  /** default of `metric_for_best_model` */
  readonly bestMetric: string;
  /** whether there are evaluation data */
  readonly evaluates: boolean;
  /** whether a due evaluation still runs after a stop request; false if it draws completions, which takes too long */
  readonly evaluatesBeforeStop: boolean;
  /** speed metrics for the logs */
  readonly speed: Speed;
  /** Sums since the last log: plain numbers, stored in checkpoints, so that a resumed run logs the same values. */
  sinceLog: Record<string, number>;

  /**
   * Records and submits one optimizer step: gradients, clipping, update. A plain function does not wait for the GPU. A
   * step that must wait, because it draws completions, is a generator of events.
   */
  step(context: StepContext<E>): Submitted<R> | AsyncGenerator<TrainEvent | E, Submitted<R>>;
  /** Adds a finished step to the sums. @returns the event of that step */
  taken(result: R): E;
  /** Returns the means since the last log, including the loss, and resets the sums. */
  means(): { loss: number; [name: string]: number };
  /** @param step optimizer steps taken @returns metrics, without `eval_` before their names */
  evaluate(step: number): Promise<Record<string, number>>;

  /** Files for a checkpoint, beside the sums. @param step optimizer steps taken */
  files?(step: number): readonly ExtraFile[];
  /** Restores the state from `files`. */
  restore?(checkpoint: Folder): Promise<void>;
  /** @throws if its files in a checkpoint are damaged */
  verify?(checkpoint: Folder): Promise<unknown>;
}
