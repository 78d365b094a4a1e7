import type { Folder } from "../../io/storage.ts";
import type { Transformer } from "../../model/transformer.ts";
import { type GrpoRecipe, generationOf } from "../../recipe/recipe.ts";
import type { ExtraFile, Trainee } from "../checkpoint.ts";
import { train } from "../loop.ts";
import type { StepContext, StepResult, Submitted, TrainEvent, TrainingMethod, TrainOptions } from "../method.ts";
import { Means } from "../metrics.ts";
import { update } from "../optimizer.ts";
import { referenceOf } from "../reference.ts";
import { StepTime } from "../speed.ts";
import { GrpoBatches } from "./batches.ts";
import { bufferFile, type GenerationBuffer, readBuffer } from "./buffer.ts";
import { EntropyControl } from "./entropy-control.ts";
import { evaluateGrpo, type FilledBuffer, fillBuffer, lossOptions, seeAgain } from "./fill-buffer.ts";
import { type GrpoResult, grpoObjective } from "./objective.ts";
import type { CompletionRecord, GrpoData } from "./rollout.ts";

export type { CompletionRecord, GrpoData };

type GrpoOwnEvent =
  /** a generation batch was drawn and scored; `step`, from 1, is the first step that trains on it */
  | { type: "generated"; step: number; records: CompletionRecord[] }
  | { type: "warning"; text: string }
  /** reward and completion_length: means of the newest generation batch, null if an earlier process drew it */
  | {
      type: "step";
      step: number;
      tokens: number;
      loss: number;
      reward: number | null;
      completion_length: number | null;
    };
/** Events of a GRPO run: the loop's events, steps, and drawn completions. */
export type GrpoEvent = TrainEvent | GrpoOwnEvent;

/** Options of a GRPO run. */
export interface GrpoOptions extends TrainOptions {
  /** finished completions of the current batch */
  onProgress?: (what: string, done: number, total: number) => void;
}

/**
 * Group relative policy optimization: draw completions, score them, compute advantages, update.
 *
 * A checkpoint includes the generation batch in use. If a reward function fails, the run saves a checkpoint first.
 *
 * @throws {TrainingError} a reward function that fails
 * @throws as `train`
 * @see Shao et al. 2024, arXiv:2402.03300; TRL's GRPOTrainer
 */
export async function* grpo(
  trainee: Trainee,
  data: GrpoData,
  recipe: GrpoRecipe,
  options: GrpoOptions,
): AsyncGenerator<GrpoEvent> {
  yield* train(trainee, new Grpo(trainee, data, recipe, options.onProgress), recipe, options);
}

/** The batches of a recipe over its prompts. */
export function batchesOf(recipe: GrpoRecipe, data: Pick<GrpoData, "train">): GrpoBatches {
  const { steps_per_generation } = generationOf(recipe);
  return new GrpoBatches(data.train.length, { ...recipe, steps_per_generation });
}

interface GrpoStepResult extends StepResult {
  /** of the generation batches drawn for the step, then of its micro-batches */
  metrics: Record<string, number>[];
  /** entropies of tokens that count, by micro-batch */
  counted: GrpoResult["counted"][];
  /** of the newest generation batch; null if an earlier process drew it */
  newest: Record<string, number> | null;
}

class Grpo implements TrainingMethod<GrpoOwnEvent, GrpoStepResult> {
  readonly batches: GrpoBatches;
  readonly fingerprint: number;
  readonly otherData =
    "other prompts, or with other batch sizes, num_generations, steps_per_generation or num_iterations";
  readonly bestMetric = "reward";
  readonly evaluates: boolean;
  readonly evaluatesBeforeStop = false;
  readonly speed = new StepTime();
  readonly verify = readBuffer;
  private readonly model: Transformer;
  private readonly reference: Transformer | null;
  private readonly data: GrpoData;
  private readonly recipe: GrpoRecipe;
  private readonly onProgress: GrpoOptions["onProgress"];
  private readonly since = new Means();
  private readonly entropy: EntropyControl;
  private buffer: GenerationBuffer | null = null;
  private newest: Record<string, number> | null = null;
  /** consecutive generation batches in which every group had equal rewards */
  private flat = 0;

  constructor(trainee: Trainee, data: GrpoData, recipe: GrpoRecipe, onProgress: GrpoOptions["onProgress"]) {
    const { model } = trainee;
    this.model = model;
    this.reference = recipe.beta === 0 ? null : referenceOf(model, trainee.continued === true);
    this.data = data;
    this.recipe = recipe;
    this.onProgress = onProgress;
    this.entropy = new EntropyControl(recipe);
    this.batches = batchesOf(recipe, data);
    this.fingerprint = this.batches.fingerprint(data.train);
    this.evaluates = data.eval !== null;
  }

  async *step({
    step,
    learning_rate,
    record,
    optimizer,
    signal,
    settle,
    giveUp,
  }: StepContext<GrpoOwnEvent>): AsyncGenerator<TrainEvent | GrpoOwnEvent, Submitted<GrpoStepResult>> {
    const { model, batches, recipe, buffer: before } = this;
    if (this.entropy.adaptive) yield* settle();
    const store = model.store!;
    const micro = batches.step(step);
    const results: Promise<GrpoResult>[] = [];
    const drawn: Record<string, number>[] = [];
    let [num_tokens, tokens] = [0, 0];
    store.clearGrads(record);
    for (const [i, at] of micro.entries()) {
      if (this.buffer?.generation !== at.generation) {
        record.submit(); // drawing waits for the GPU
        yield* settle();
        let filled: FilledBuffer;
        try {
          filled = await this.fill(at.generation, step, signal);
        } catch (error) {
          this.buffer = before; // the step has changed nothing yet
          throw yield* giveUp(error);
        }
        this.buffer = filled.buffer;
        this.newest = filled.metrics;
        drawn.push(filled.metrics);
        num_tokens += filled.tokens;
        yield* this.tell(filled, step);
      }
      const { buffer } = this;
      const sequences = batches.slice(at).map((place) => buffer!.sequences[place]);
      tokens += sequences.reduce((n, s) => n + s.prompt_ids.length + s.completion_ids.length, 0);
      const options = lossOptions(recipe, batches, buffer!, micro.length, {
        step,
        micro: i,
        entropy_coef: this.entropy.applied,
      });
      const result = grpoObjective(record, model, sequences, options);
      result.catch(() => {}); // awaited with the step; a rejection before that must not end the process
      results.push(result);
    }
    const norm = update(record, store, optimizer, { step, learning_rate, max_grad_norm: recipe.max_grad_norm });
    const known = { step, learning_rate, tokens, num_tokens, newest: this.newest };
    return { result: collect(results, norm, drawn, known) };
  }

  private fill(generation: number, step: number, signal: AbortSignal | undefined): Promise<FilledBuffer> {
    return fillBuffer(this.model, this.reference, this.data, this.recipe, this.batches, {
      generation,
      step,
      signal,
      onProgress: (done, total) => this.onProgress?.("completions", done, total),
    });
  }

  /** Warnings about a generation batch. */
  private *tell({ records, metrics, unscored }: FilledBuffer, step: number): Generator<GrpoOwnEvent> {
    yield { type: "generated", step: step + 1, records };
    this.flat = metrics.frac_reward_zero_std === 1 ? this.flat + 1 : 0;
    const { flat } = this;
    if (flat === 1 || (flat > 1 && flat % 10 === 0)) {
      const since = flat > 1 ? ` for ${flat} generation batches in a row` : "";
      const text = `Step ${step + 1}: all completions of each prompt got the same reward${since} (mean ${metrics.reward?.toFixed(3) ?? "unknown"}), so every advantage is 0 and the model learns nothing: a loss of 0 is not a success. Use prompts that the model solves only sometimes, a higher temperature, more num_generations or a finer-grained reward`;
      yield { type: "warning", text };
    }
    if (unscored > 0) {
      const text = `Step ${step + 1}: no reward function scored ${unscored} of ${records.length} completions; the model learns nothing from them`;
      yield { type: "warning", text };
    }
  }

  taken({ step, tokens, loss, metrics, counted, newest }: GrpoStepResult): GrpoOwnEvent {
    for (const values of [{ loss }, ...metrics, this.entropy.taken(counted)]) this.since.add(values);
    const reward = newest?.reward ?? null;
    const completion_length = newest?.["completions/mean_length"] ?? null;
    return { type: "step", step: step + 1, tokens, loss, reward, completion_length };
  }

  means(): { loss: number; [name: string]: number } {
    return this.since.take() as { loss: number };
  }

  evaluate(step: number): Promise<Record<string, number>> {
    return evaluateGrpo(this.model, this.data, this.recipe, step);
  }

  /** The generation batch, where the next step trains on it, and the entropy's control. */
  files(step: number): ExtraFile[] {
    const next = this.batches.step(step)[0].generation;
    return [...(this.buffer?.generation === next ? [bufferFile(this.buffer)] : []), ...this.entropy.files()];
  }

  async restore(checkpoint: Folder): Promise<void> {
    this.buffer = await readBuffer(checkpoint);
    if (this.buffer) await seeAgain(this.model, this.data, this.recipe, this.batches, this.buffer);
    await this.entropy.restore(checkpoint);
  }

  get sinceLog(): Record<string, number> {
    return this.since.state;
  }

  set sinceLog(sums: Record<string, number>) {
    this.since.state = sums;
  }
}

async function collect(
  results: readonly Promise<GrpoResult>[],
  norm: Promise<ArrayBuffer>,
  drawn: readonly Record<string, number>[],
  known: Omit<GrpoStepResult, "loss" | "grad_norm" | "metrics" | "counted">,
): Promise<GrpoStepResult> {
  const made = await Promise.all(results);
  return {
    ...known,
    loss: made.reduce((sum, result) => sum + result.loss, 0),
    grad_norm: new Float32Array(await norm)[0],
    metrics: [...drawn, ...made.map(({ metrics }) => metrics)],
    counted: made.map(({ counted }) => counted),
  };
}
