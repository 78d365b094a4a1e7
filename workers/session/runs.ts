import { createStore, del, get, type UseStore, update, values } from "idb-keyval";
import type { Evaluation, Job, RunEvent, RunRecord, RunSummary } from "../../src/client/types.ts";
import { NotFoundError } from "../../src/errors.ts";
import { ADAPTER_WEIGHTS_FILE } from "../../src/io/peft.ts";
import type { Folder } from "../../src/io/storage.ts";
import { IdbFolder } from "../../src/platform/browser/idb-folder.ts";
import { explainStorage } from "../../src/platform/browser/quota.ts";
import { inOrder } from "../../src/report/names.ts";
import { findCheckpoint } from "../../src/train/checkpoint.ts";
import { runsHeld } from "./locks.ts";

/** Number of generation batches whose completions are kept. */
const BATCHES_KEPT = 8;

/** A stored run. */
export interface StoredRun extends RunRecord {
  /** seconds of work over all starts */
  seconds: number;
  /** number of finished phases */
  done: number;
}

/** The history: records of runs in one database, their checkpoints in another. */
export class RunStore {
  private readonly store: UseStore = createStore("qwench-runs", "runs");
  readonly checkpoints = IdbFolder.open("qwench-checkpoints");

  /** @throws {NotFoundError} */
  async get(id: string): Promise<StoredRun> {
    const record = await get<StoredRun>(id, this.store);
    if (!record) throw new NotFoundError(`There is no run ${id}: it may have been deleted`);
    return withTruth(record, await runsHeld());
  }

  async list(): Promise<StoredRun[]> {
    const held = await runsHeld();
    const records = await values<StoredRun>(this.store);
    return records.map((record) => withTruth(record, held)).sort((a, b) => b.created - a.created);
  }

  /** Writes a record but keeps the stored name, because another tab may have renamed the run. */
  async put(record: StoredRun): Promise<void> {
    try {
      await update<StoredRun>(record.id, (old) => ({ ...record, name: old?.name ?? record.name }), this.store);
    } catch (error) {
      throw await explainStorage(error, `write the record of ${record.name}`, 0);
    }
  }

  async change(id: string, values: Partial<StoredRun>): Promise<void> {
    await this.get(id);
    await update<StoredRun>(id, (old) => ({ ...old!, ...values }), this.store);
  }

  async remove(id: string): Promise<void> {
    await this.checkpoints.removeFolder(id);
    await del(id, this.store);
  }

  /** The folder of a phase's checkpoints and adapter. */
  folder(id: string, phase: number): IdbFolder {
    return this.checkpoints.folder(id).folder(`phase-${phase + 1}`);
  }
}

/** Marks a run as interrupted if its record says running but no tab trains it. */
function withTruth(record: StoredRun, held: ReadonlySet<string>): StoredRun {
  return record.status === "running" && !held.has(record.id) ? { ...record, status: "paused" } : record;
}

/**
 * The newest adapter of a run: from the newest checkpoint of the current phase, or else the last finished phase.
 *
 * @throws {NotFoundError}
 */
export async function newestAdapter(run: StoredRun, runs: RunStore): Promise<Folder> {
  for (let phase = run.phases.length - 1; phase >= 0; phase--) {
    const folder = runs.folder(run.id, phase);
    if (phase < run.done && (await folder.exists(ADAPTER_WEIGHTS_FILE))) return folder;
    try {
      return (await findCheckpoint(folder, true)).folder;
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
    }
  }
  throw new NotFoundError(`The run ${run.name} has no adapter yet: it has saved no checkpoint`);
}

export function newRun(id: string, job: Job, named: { model: string; data: string; recipes: string[] }): StoredRun {
  return {
    id,
    name: job.name,
    created: Date.now(),
    status: "ready",
    problem: null,
    phase: 0,
    phases: job.phases.map(({ method }) => ({ method, max_steps: null, global_step: 0 })),
    ...named,
    accuracy: null,
    job,
    logs: job.phases.map(() => []),
    completions: [],
    evaluations: [],
    seconds: 0,
    done: 0,
  };
}

export function summaryOf(run: StoredRun): RunSummary {
  const { id, name, created, status, problem, phase, phases, model, data, accuracy } = run;
  return { id, name, created, status, problem, phase, phases, model, data, accuracy };
}

/** Adds an event to a run's record. */
export function note(run: StoredRun, event: RunEvent): void {
  switch (event.type) {
    case "phase": {
      run.phase = event.phase;
      run.phases[event.phase] = { method: event.method, max_steps: event.max_steps, global_step: event.global_step };
      // events after the checkpoint will occur again
      run.completions = run.completions.filter(({ phase, step }) => phase < event.phase || step <= event.global_step);
      break;
    }
    case "step":
      run.phases[event.phase].global_step = event.step;
      break;
    case "log":
    case "eval":
      run.logs[event.phase].push(event.record);
      break;
    case "pictures":
      run.pictures = { ...run.pictures, ...event.pictures };
      break;
    case "generated":
      run.completions = [...run.completions, { phase: event.phase, step: event.step, records: event.records }].slice(
        -BATCHES_KEPT,
      );
      if (run.pictures) run.pictures = usedPictures(run);
      break;
    case "evaluated":
      addEvaluation(run, event.evaluation);
      break;
  }
}

/** The pictures of the completions and problems that are kept. */
function usedPictures({ completions, evaluations, pictures = {} }: StoredRun): Record<string, string> {
  const records = [
    ...completions.flatMap((batch) => batch.records),
    ...evaluations.flatMap(({ problems }) => problems),
  ];
  const keys = new Set(records.flatMap(({ images = [] }) => images));
  return Object.fromEntries(Object.entries(pictures).filter(([key]) => keys.has(key)));
}

function addEvaluation(run: StoredRun, evaluation: Evaluation): void {
  const others = run.evaluations.filter(
    ({ stage, phase, step }) => stage !== evaluation.stage || phase !== evaluation.phase || step !== evaluation.step,
  );
  run.evaluations = inOrder([...others, evaluation]);
  run.accuracy = run.evaluations.at(-1)!.accuracy; // of what the run has become, also if an earlier checkpoint was evaluated since
}
