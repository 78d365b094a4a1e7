import { expect, it } from "vitest";
import { writeRandomCheckpoint } from "../../scripts/random-checkpoint.ts";
import { AbortError, DataError, FormatError, TrainingError } from "../../src/errors.ts";
import { fakeGpu } from "../../src/gpu/fake-device.ts";
import { openCheckpoint } from "../../src/io/checkpoint.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import type { Folder } from "../../src/io/storage.ts";
import { initAdapter, loadModel } from "../../src/model/files/load.ts";
import { checkpointNames, type ExtraFile, type Trainee } from "../../src/train/checkpoint.ts";
import { train } from "../../src/train/loop.ts";
import type { StepContext, StepResult, Submitted, TrainEvent, TrainingMethod } from "../../src/train/method.ts";
import { update } from "../../src/train/optimizer.ts";
import { uniformFrom } from "../../src/train/seed.ts";
import { TokensPerSecond } from "../../src/train/speed.ts";
import { recipeOf, TINY } from "./fixtures.ts";

// The loop alone: a made-up method on a device that computes nothing, so that results do not depend on arithmetic.

type Own = { type: "step"; step: number; loss: number } | { type: "pause"; step: number };

const FILE = "count.json";

/** Learns nothing. Counts its steps, has given losses, and waits for the GPU before every third step. */
class Counting implements TrainingMethod<Own> {
  readonly batches = { max_steps: 8, stepsPerEpoch: 4, epochAfter: (steps: number) => steps / 4 };
  readonly fingerprint: number;
  readonly otherData = "other numbers";
  readonly bestMetric = "loss";
  readonly evaluates = true;
  readonly evaluatesBeforeStop = true;
  readonly speed = new TokensPerSecond();
  sinceLog: Record<string, number> = { steps: 0, loss: 0 };
  count = 0;
  protected readonly trainee: Trainee;
  private readonly lossAt: (step: number) => number;

  constructor(trainee: Trainee, lossAt: (step: number) => number = (step) => step, fingerprint = 5) {
    this.trainee = trainee;
    this.lossAt = lossAt;
    this.fingerprint = fingerprint;
  }

  async *step(context: StepContext<Own>): AsyncGenerator<TrainEvent | Own, Submitted<StepResult>> {
    const { step, learning_rate, record, optimizer, settle, giveUp } = context;
    if (step % 3 === 2) {
      yield* settle();
      yield { type: "pause", step };
      const loss = this.lossAt(step);
      if (loss < 0) throw yield* giveUp(new TrainingError("no more numbers"));
    }
    this.count++;
    const norm = update(record, this.trainee.model.store!, optimizer, { step, learning_rate, max_grad_norm: 1 });
    const loss = this.lossAt(step);
    return { result: norm.then(() => ({ step, loss, grad_norm: 0, learning_rate, tokens: 10, num_tokens: 20 })) };
  }

  taken({ step, loss }: StepResult): Own {
    this.sinceLog = { steps: this.sinceLog.steps + 1, loss: this.sinceLog.loss + loss };
    return { type: "step", step: step + 1, loss };
  }

  means() {
    const { steps, loss } = this.sinceLog;
    this.sinceLog = { steps: 0, loss: 0 };
    return { loss: loss / steps, steps };
  }

  async evaluate(step: number) {
    return { loss: Math.abs(step - 4) };
  }

  files(step: number): ExtraFile[] {
    return step % 2 === 0 ? [{ name: FILE, text: String(this.count) }] : [];
  }

  async restore(checkpoint: Folder) {
    if (await checkpoint.exists(FILE)) this.count = Number(await checkpoint.readText(FILE));
  }

  async verify(checkpoint: Folder) {
    if ((await checkpoint.exists(FILE)) && (await checkpoint.readText(FILE)) === "?") throw new FormatError("no count");
  }
}

/** A promise that calls `onAwait` when it is awaited. */
class Awaited<T> extends Promise<T> {
  static override get [Symbol.species]() {
    return Promise;
  }
  onAwait = () => {};
  // biome-ignore lint/suspicious/noThenProperty: this is a promise
  override then: Promise<T>["then"] = (taken, failed) => {
    if (taken) this.onAwait();
    return super.then(taken, failed);
  };
}

/** A method with a fake clock: recording a step and computing it on the GPU take fixed times. */
class Clocked extends Counting {
  time = 0;
  recording = 0;
  computing = 0;
  private gpuFree = 0;

  override step(context: StepContext<Own>) {
    const { step, learning_rate, record, optimizer } = context;
    this.time += this.recording;
    this.gpuFree = Math.max(this.gpuFree, this.time) + this.computing;
    const finished = this.gpuFree;
    const norm = update(record, this.trainee.model.store!, optimizer, { step, learning_rate, max_grad_norm: 1 });
    const value = { step, loss: 1, grad_norm: 0, learning_rate, tokens: 1000, num_tokens: 1000 };
    const result = new Awaited<StepResult>((resolve) => norm.then(() => resolve(value)));
    result.onAwait = () => {
      this.time = Math.max(this.time, finished);
    };
    return { result } as never;
  }

  override files(step: number): ExtraFile[] {
    this.time += 5000; // a checkpoint takes long
    return super.files(step);
  }
}

async function trainee(): Promise<Trainee> {
  const folder = memoryFolder("tiny");
  await writeRandomCheckpoint(folder, TINY, 1);
  const checkpoint = await openCheckpoint(folder);
  const lora = { r: 2, lora_alpha: 4, lora_dropout: 0, use_rslora: false, target_modules: ["q_proj" as const] };
  const gpu = fakeGpu();
  const model = await loadModel(gpu, checkpoint, { trained: { lora } });
  initAdapter(gpu, model, uniformFrom(1));
  return { model, lora, base: "tiny", config: checkpoint.config };
}

interface Run {
  lossAt?: (step: number) => number;
  fingerprint?: number;
  output?: Folder;
  resume?: true | null;
  values?: Record<string, unknown>;
  onEvent?: (event: TrainEvent | Own, abort: AbortController) => unknown;
}

/** A whole run: events as short words, and the error. */
async function run({ lossAt, fingerprint, output = memoryFolder("out"), resume = null, values = {}, onEvent }: Run) {
  const recipe = recipeOf({ logging_steps: 2, ...values });
  const model = await trainee();
  const method = new Counting(model, lossAt, fingerprint);
  const abort = new AbortController();
  const told: string[] = [];
  const logs: Record<string, number>[] = [];
  let error: unknown = null;
  try {
    for await (const event of train(model, method, recipe, { output, resume, signal: abort.signal, now: () => 0 })) {
      if (event.type === "log" || event.type === "eval") logs.push(event.record);
      told.push(
        event.type === "step" || event.type === "pause"
          ? `${event.type} ${event.step}`
          : "name" in event
            ? `${event.type} ${event.name}`
            : event.type,
      );
      onEvent?.(event, abort);
    }
  } catch (thrown) {
    error = thrown;
  }
  return { told, logs, error, method, output };
}

it("a step's numbers arrive one step late, or before a step that waits for the GPU", async () => {
  const { told, logs } = await run({ values: { save_strategy: "no" } });
  expect(told).toEqual([
    ...["start", "step 1", "step 2", "log", "pause 2", "step 3", "step 4", "log", "step 5", "pause 5"],
    ...["step 6", "log", "step 7", "step 8", "log", "end"],
  ]);
  expect(logs[1]).toMatchObject({ step: 4, loss: 2.5, steps: 2, num_tokens: 80, epoch: 1 });
});

it("evaluates, saves and ends with the best checkpoint, which save_total_limit never removes", async () => {
  const values = {
    ...{ eval_strategy: "steps", eval_steps: 2, save_strategy: "steps", save_steps: 2 },
    ...{ load_best_model_at_end: true, save_total_limit: 2, logging_steps: 100 },
  };
  const { told, output, logs } = await run({ values });
  expect(told.filter((word) => !/step|pause/.test(word))).toEqual([
    ...["start", "eval", "checkpoint checkpoint-2", "eval", "checkpoint checkpoint-4", "eval"],
    ...["checkpoint checkpoint-6", "log", "eval", "checkpoint checkpoint-8", "best checkpoint-4", "end"],
  ]);
  expect(logs.flatMap((log) => log.eval_loss ?? [])).toEqual([2, 0, 2, 4]);
  expect(await checkpointNames(output)).toEqual(["checkpoint-4", "checkpoint-8"]);
});

const EVALUATED = { eval_strategy: "steps", eval_steps: 2, logging_steps: 2, save_strategy: "no" };

it("evaluates before the first step where it is told to, compares that with nothing, and not again on a resume", async () => {
  const values = { ...EVALUATED, eval_on_start: true, save_strategy: "steps", save_steps: 2 };
  const { told, logs, output } = await run({
    values,
    onEvent: (event, abort) => event.type === "pause" && abort.abort(),
  });
  expect(told.slice(0, 2)).toEqual(["start", "eval"]);
  expect(logs[0]).toMatchObject({ step: 0, eval_loss: 4, epoch: 0 });
  const rest = await run({ values, output, resume: true });
  expect(rest.told.slice(0, 2)).toEqual(["start", "step 4"]);
});

it("stops early once evaluations get no better, with the best checkpoint put back", async () => {
  const values = { ...EVALUATED, early_stopping_patience: 1, save_strategy: "steps", save_steps: 2 };
  const { told, logs, error, output } = await run({ values: { ...values, load_best_model_at_end: true } });
  expect(error).toBeNull();
  expect(told.filter((word) => !/step|pause|log/.test(word)).slice(-5)).toEqual([
    ...["eval", "checkpoint checkpoint-6", "note", "best checkpoint-4", "end"],
  ]);
  expect(logs.flatMap((log) => log.eval_loss ?? [])).toEqual([2, 0, 2]);
  const state = JSON.parse(await output.folder("checkpoint-6").readText("trainer_state.json"));
  expect(state.stateful_callbacks.EarlyStoppingCallback).toEqual({
    args: { early_stopping_patience: 1, early_stopping_threshold: 0 },
    attributes: { early_stopping_patience_counter: 1 },
  });
});

it("early stopping counts on after a resume, and takes only what passes the threshold for better", async () => {
  const values = { ...EVALUATED, early_stopping_patience: 2, save_strategy: "steps", save_steps: 2 };
  const far = { ...values, early_stopping_threshold: 3 };
  const notes: string[] = [];
  await run({ values: far, onEvent: (event) => event.type === "note" && notes.push(event.text) });
  const text = "eval_loss has not improved by more than 3 in 2 evaluations";
  expect(notes).toEqual([`Early stopping after step 6 of 8: ${text}`]);
  // the first of the two failures before the stop, the second after it
  const output = memoryFolder("out");
  const abort = (event: TrainEvent | Own, controller: AbortController) =>
    event.type === "checkpoint" && event.name === "checkpoint-4" && controller.abort();
  await run({ values: far, output, onEvent: abort });
  const rest = await run({ values: far, output, resume: true });
  expect(rest.told.filter((word) => /note|checkpoint/.test(word))).toEqual(["checkpoint checkpoint-6", "note"]);
});

it("on a plateau the learning rate falls after an evaluation, and stays where it was after a resume", async () => {
  const kwargs = { patience: 0, factor: 0.5 };
  const plateau = { lr_scheduler_type: "reduce_lr_on_plateau", lr_scheduler_kwargs: kwargs, learning_rate: 0.01 };
  const values = { ...EVALUATED, ...plateau, save_strategy: "steps", save_steps: 6 };
  const { logs, output } = await run({ values });
  const rates = (of: Record<string, number>[]) => of.flatMap(({ learning_rate }) => learning_rate ?? []);
  expect(rates(logs)).toEqual([0.01, 0.01, 0.01, 0.005]);
  await output.removeFolder("checkpoint-8");
  const rest = await run({ values, output, resume: true });
  expect(rates(rest.logs)).toEqual([0.005]);
});

it("a resumed run has its method's sums and files, and tells what the run that went on told", async () => {
  const values = { save_strategy: "steps", save_steps: 3, logging_steps: 4 };
  const whole = await run({ values });
  const output = memoryFolder("out");
  const first = await run({ values, output, onEvent: (event, abort) => event.type === "pause" && abort.abort() });
  expect(first.error).toEqual(new AbortError("Stopped after step 3 of 8; checkpoint-3 holds everything"));
  const second = await run({ values, output, resume: true });
  expect(second.told.slice(0, 3)).toEqual(["start", "step 4", "log"]);
  expect(second.logs).toEqual(whole.logs);
  expect(second.method.count).toBe(5); // an odd step stores no file
  const even = await run({ values: { ...values, save_steps: 4 } });
  await even.output.removeFolder("checkpoint-8");
  expect((await run({ values, output: even.output, resume: true })).method.count).toBe(8);
});

it("skips a checkpoint whose method file is damaged, and refuses a checkpoint of other data", async () => {
  const values = { save_strategy: "steps", save_steps: 2 };
  const { output } = await run({ values });
  await output.folder("checkpoint-8").write(FILE, "?");
  const other = await run({ values, output, resume: true, fingerprint: 6 });
  expect(other.error).toEqual(new DataError("Cannot resume from out/checkpoint-6: it was trained on other numbers"));
  expect((await run({ values, output, resume: true })).told.slice(0, 2)).toEqual(["start", "step 7"]);
});

it("a step that cannot be recorded ends the run; earlier steps are saved", async () => {
  const { told, error, output } = await run({
    lossAt: (step) => (step === 5 ? -1 : 1),
    values: { save_strategy: "no" },
  });
  expect(error).toEqual(new TrainingError("no more numbers"));
  expect(told.slice(-2)).toEqual(["pause 5", "checkpoint checkpoint-5"]);
  expect(await checkpointNames(output)).toEqual(["checkpoint-5"]);
});

it("a loss that is not finite ends the run", async () => {
  const { error, told } = await run({ lossAt: (step) => (step === 3 ? Number.NaN : 1) });
  expect(error).toBeInstanceOf(TrainingError);
  expect((error as Error).message).toMatch(/^Training stopped at step 4: loss NaN, grad_norm 0\./);
  expect(told.at(-1)).toBe("step 3");
});

it("writes floats in trainer_state.json in the same fields as transformers", async () => {
  const values = { save_strategy: "steps", save_steps: 4, eval_strategy: "steps", eval_steps: 4, logging_steps: 4 };
  const { output } = await run({ values: { ...values, load_best_model_at_end: true } });
  const file = await output.folder("checkpoint-8").readText("trainer_state.json");
  const text = file.slice(0, file.indexOf(`"qwench"`));
  for (const field of ["epoch", "loss", "grad_norm", "num_tokens", "eval_loss", "best_metric"])
    for (const [, value] of text.matchAll(new RegExp(`"${field}": ([^,\\n]+)`, "g"))) expect(value).toMatch(/[.e]/);
  expect(text).toMatch(/"epoch": 2\.0,/);
  expect(text).toMatch(/"global_step": 8,/);
  expect(text).toMatch(/"step": 4,/);
  expect(JSON.parse(file)).toMatchObject({
    global_step: 8,
    epoch: 2,
    log_history: [{ step: 4, num_tokens: 80 }, {}, {}, {}],
  });
});

it.each([
  { recording: 100, computing: 10 }, // a small model on a fast GPU
  { recording: 100, computing: 60 },
  { recording: 5, computing: 200 }, // a large model
])("tokens_per_second is right at steps that save and after them: $recording, $computing ms", async (times) => {
  const model = await trainee();
  const method = Object.assign(new Clocked(model), times);
  const recipe = recipeOf({ logging_steps: 1, save_strategy: "steps", save_steps: 3 });
  const rates: number[] = [];
  const options = { output: memoryFolder("out"), resume: null, now: () => method.time };
  for await (const event of train(model, method, recipe, options))
    if (event.type === "log") rates.push(event.record.tokens_per_second!);
  expect(rates).toHaveLength(8);
  const [fast, slow] = [Math.max(times.recording, times.computing), times.recording + times.computing];
  for (const rate of rates) {
    expect(rate).toBeLessThanOrEqual(1001 * (1000 / fast));
    expect(rate).toBeGreaterThanOrEqual(999 * (1000 / slow));
  }
});
