import type { Recorder } from "../gpu/recorder.ts";
import type { Folder } from "../io/storage.ts";
import type { ExtraFile } from "./checkpoint.ts";
import type { LogRecord } from "./metrics.ts";
import type { Optimizer } from "./optimizer.ts";
import type { Speed } from "./speed.ts";

/** How a run goes, whatever its method. */
export interface TrainOptions {
  signal?: AbortSignal;
  /** where checkpoints and the result go */
  output: Folder;
  /** true: the newest checkpoint of `output`; a folder: that one; null: from the start */
  resume: true | Folder | null;
  /** a checkpoint also when so many seconds have passed since the last one: where a process may die at any time */
  save_seconds?: number;
  now?: () => number;
}

/** What every method tells. Each adds its `step` event, and may add others. */
export type TrainEvent =
  | { type: "start"; max_steps: number; global_step: number }
  | { type: "log"; record: LogRecord }
  | { type: "eval"; record: LogRecord }
  | { type: "checkpoint"; name: string }
  | { type: "best"; name: string }
  | { type: "end"; record: LogRecord };

/** What one optimizer step did, once the GPU has run it. */
export interface StepResult {
  /** optimizer step, from 0 */
  step: number;
  loss: number;
  /** before clipping */
  grad_norm: number;
  learning_rate: number;
  /** that it trained on */
  tokens: number;
  /** that the count `num_tokens` grows by; absent: `tokens` */
  num_tokens?: number;
}

/** What a step is given by the loop. `E`: the method's own events. */
export interface StepContext<E> {
  /** optimizer step, from 0 */
  step: number;
  learning_rate: number;
  record: Recorder;
  optimizer: Optimizer;
  signal?: AbortSignal;
  /** Takes in the step before this one: what comes next waits for the GPU anyway. */
  settle(): AsyncGenerator<TrainEvent | E>;
  /**
   * Ends the run at a step that has changed nothing yet: saves what earlier steps did, where the signal was aborted or a
   * TrainingError came. The method's state must be that before the step.
   *
   * @returns what to throw
   */
  giveUp(error: unknown): AsyncGenerator<TrainEvent | E, unknown>;
}

/** A step whose work was submitted. Its numbers come later: nothing waits for them here. */
export interface Submitted<R> {
  result: Promise<R>;
}

/**
 * What a learning algorithm brings to the loop of `train`: its batches, its step, its evaluation, and what it remembers.
 *
 * A method is made for one run. `E`: its own events, the step's among them. `R`: what a step of it gives.
 */
export interface TrainingMethod<E, R extends StepResult = StepResult> {
  readonly batches: {
    readonly max_steps: number;
    /** optimizer steps of one pass over the data */
    readonly stepsPerEpoch: number;
    /** `epoch` of the logs after so many optimizer steps */
    epochAfter(steps: number): number;
  };
  /** a number that changes when the data or their order do */
  readonly fingerprint: number;
  /** what a checkpoint of another fingerprint was trained on */
  readonly otherData: string;
  /** what `metric_for_best_model` is where the recipe names none */
  readonly bestMetric: string;
  /** whether there is anything to evaluate on */
  readonly evaluates: boolean;
  /** whether an evaluation that is due comes before a stop that was asked for; one that draws completions takes too long */
  readonly evaluatesBeforeStop: boolean;
  /** what its logs say of its speed */
  readonly speed: Speed;
  /** Sums since the last log: plain numbers, so that a checkpoint holds them and a resumed run logs the same. */
  sinceLog: Record<string, number>;

  /**
   * Records and submits one optimizer step: gradients, clipping, update. A plain function, so that nothing waits for the
   * GPU; one that has to, because it draws completions, is a generator of what happens meanwhile.
   */
  step(context: StepContext<E>): Submitted<R> | AsyncGenerator<TrainEvent | E, Submitted<R>>;
  /** Adds a finished step to the sums. @returns the event of that step */
  taken(result: R): E;
  /** The means since the last log, the loss among them; the sums begin again. */
  means(): { loss: number; [name: string]: number };
  /** @param step optimizer steps taken @returns metrics, without `eval_` before their names */
  evaluate(step: number): Promise<Record<string, number>>;

  /** What it keeps in a checkpoint beside sums. @param step optimizer steps taken */
  files?(step: number): readonly ExtraFile[];
  /** Puts back what `files` has kept. */
  restore?(checkpoint: Folder): Promise<void>;
  /** @throws where its files in a checkpoint are not whole */
  verify?(checkpoint: Folder): Promise<unknown>;
}
