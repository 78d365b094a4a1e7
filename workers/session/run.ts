import type { Evaluation, RunEvent } from "../../src/client/types.ts";
import { AbortError, GpuError, QwenchError } from "../../src/errors.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import type { Folder } from "../../src/io/storage.ts";
import type { Transformer } from "../../src/model/transformer.ts";
import { timed } from "../../src/session/run-times.ts";
import { tune } from "../../src/session/tune.ts";
import { messageOf } from "../../src/text/show.ts";
import { checkpointNames, findCheckpoint } from "../../src/train/checkpoint.ts";
import { evaluate } from "./evaluate.ts";
import { faultOf, type GpuHolder } from "./gpu.ts";
import type { Library } from "./library.ts";
import { lockTraining } from "./locks.ts";
import { asProgress, loadPhase, type PreparedPhase, pictured, preparePhase, trainPhase } from "./phase.ts";
import { nameOfModel } from "./recipes.ts";
import { reporting } from "./reporting.ts";
import type { RewardDesk } from "./reward-platform.ts";
import { note, type RunStore, type StoredRun } from "./runs.ts";
import { timesStore, tuningStore } from "./tuning.ts";

interface RunInput {
  id: string;
  runs: RunStore;
  library: Library;
  holder: GpuHolder;
  rewards: RewardDesk;
  signal: AbortSignal;
}

/** Milliseconds between two writes of a healthy run's record. */
const WRITE_MS = 1000;

/**
 * Trains a run from its current state to its end, phase by phase, each from the previous phase's adapter. Solves held-out
 * problems before the first phase and after each phase. Stores every event immediately.
 *
 * @throws {BusyError} another tab is training
 * @throws {AbortError} the signal was aborted; a checkpoint has been saved, and the next start resumes from it
 * @throws any other error, which the record also holds
 */
export async function* trainRun(input: RunInput): AsyncGenerator<RunEvent> {
  const { id, runs, holder } = input;
  const release = await lockTraining(id);
  try {
    const run = await runs.get(id);
    if (run.status === "finished" || run.status === "stopped") {
      throw new QwenchError(`The run ${run.name} is ${run.status}: there is nothing left to train`);
    }
    await runs.checkpoints.sweep(); // nobody else writes while this worker holds the lock
    const lent = await holder.lend("a run is training");
    const keeper = new Keeper(runs, run);
    try {
      holder.kept = null;
      await lent.gpu.clear();
      await keeper.state("running", null);
      for await (const event of phases(input, run, lent.gpu)) {
        await keeper.take(event);
        yield event;
      }
      const end: RunEvent = { type: "end", seconds: await keeper.finish() };
      yield end;
    } catch (error) {
      const fault = await faultAfter(lent.gpu, error);
      // if the record cannot be written either, the history shows the run as paused, because no tab trains it
      await keeper.fail(fault).catch(() => {});
      throw fault;
    } finally {
      lent.end();
    }
  } finally {
    await release();
  }
}

async function* phases(input: RunInput, run: StoredRun, gpu: Gpu): AsyncGenerator<RunEvent> {
  const { library, runs, rewards, signal } = input;
  const { job } = run;
  const model = yield* reporting((report: (event: RunEvent) => void) =>
    library.openModel(job.model, { signal, report: asProgress(report, "bytes") }),
  );
  for (let index = run.done; index < job.phases.length; index++) {
    const adapter = index > 0 || job.continues ? runs.folder(run.id, index - 1) : null;
    const output = runs.folder(run.id, index);
    const phase = yield* preparePhase({ job, index, model, adapter, gpu, library, rewards, signal });
    for (const text of phase.forecast.notes) yield { type: "note", text };
    yield* measured(gpu, phase);
    await gpu.clear();
    const trainee = yield* loadPhase(phase);
    if (index === 0) yield* solve(input, run, phase, trainee.model, "base"); // a new adapter has no effect
    await takeLogs(run, index, output);
    try {
      const timing = { gpu, training: phase.training, model: nameOfModel(job.model), store: timesStore() };
      yield* timed(trainPhase(phase, trainee, output), timing);
    } finally {
      await phase.close();
    }
    yield* solve(input, run, phase, trainee.model, job.phases[index].method);
    run.done = index + 1;
  }
}

/** Measures and picks kernel variants, once per adapter. */
function measured(gpu: Gpu, { training, input: { signal } }: PreparedPhase): AsyncGenerator<RunEvent> {
  return reporting(async (report: (event: RunEvent) => void) => {
    await tune(gpu, training.prepared, tuningStore(), {
      signal,
      onBegin: (text) => report({ type: "note", text }),
    });
  });
}

/** Solves the held-out problems, if there are any and no result exists yet. */
async function* solve(
  { library, signal }: RunInput,
  run: StoredRun,
  { training: { prepared }, input, images }: PreparedPhase,
  model: Transformer,
  stage: Evaluation["stage"],
): AsyncGenerator<RunEvent> {
  const { job } = run;
  const known = run.evaluations.some(
    (made) => made.stage === stage && made.phase === input.index && made.step === undefined,
  );
  if (!job.evaluate || known) return;
  if (!prepared.tokenizer) throw new QwenchError("Cannot solve held-out problems: the model has no tokenizer.json");
  model.gpu.pool.trim(); // training's buffers do not fit evaluation
  const evaluation = yield* evaluate(model, {
    job,
    library,
    tokenizer: prepared.tokenizer,
    images,
    signal,
    stage,
    phase: input.index,
  });
  model.gpu.pool.trim();
  yield* pictured({ images }, evaluation.problems);
  yield { type: "evaluated", evaluation };
}

/** The newest checkpoint's logs. The record may be a few steps behind or ahead of the checkpoint. */
async function takeLogs(run: StoredRun, index: number, output: Folder): Promise<void> {
  if ((await checkpointNames(output)).length === 0) run.logs[index] = [];
  else run.logs[index] = (await findCheckpoint(output, true)).state.log_history as StoredRun["logs"][number];
}

/** Keeps a run's stored record up to date. Writes the complete record from time to time. */
class Keeper {
  private readonly runs: RunStore;
  private readonly run: StoredRun;
  private readonly began = performance.now();
  private readonly secondsBefore: number;
  private written = 0;

  constructor(runs: RunStore, run: StoredRun) {
    this.runs = runs;
    this.run = run;
    this.secondsBefore = run.seconds;
  }

  async take(event: RunEvent): Promise<void> {
    if (event.type === "progress" || event.type === "solved") return;
    note(this.run, event);
    const weighty = ["phase", "checkpoint", "evaluated"].includes(event.type);
    if (weighty || performance.now() - this.written > WRITE_MS) await this.write();
  }

  async state(status: StoredRun["status"], problem: string | null): Promise<void> {
    Object.assign(this.run, { status, problem });
    await this.write();
  }

  /** @returns total seconds of work */
  async finish(): Promise<number> {
    await this.state("finished", null);
    return this.run.seconds;
  }

  async fail(error: unknown): Promise<void> {
    if (error instanceof AbortError) await this.state("paused", null);
    // a lost device is not fatal: the next start opens another
    else if (error instanceof GpuError)
      await this.state("paused", `${error.message}. Start the run again to continue from the last checkpoint`);
    else await this.state("failed", messageOf(error));
  }

  private async write(): Promise<void> {
    this.run.seconds = this.secondsBefore + (performance.now() - this.began) / 1000;
    this.written = performance.now();
    await this.runs.put(this.run);
  }
}

/** Milliseconds to wait for a device to report its loss after work on it has failed. */
const LOSS_MS = 1000;

/** The original error. Work on a lost device fails with various errors before the device reports the loss. */
async function faultAfter(gpu: Gpu, error: unknown): Promise<unknown> {
  if (error instanceof QwenchError && !(error instanceof GpuError)) return error;
  await Promise.race([gpu.device.lost, new Promise((resolve) => setTimeout(resolve, LOSS_MS))]);
  const fault = faultOf(gpu);
  return fault ? new GpuError(fault, { cause: error }) : error;
}
