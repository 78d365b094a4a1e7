import type { RunCheckpoint } from "../../src/client/types.ts";
import { NotFoundError } from "../../src/errors.ts";
import { ADAPTER_WEIGHTS_FILE } from "../../src/io/peft.ts";
import type { Folder } from "../../src/io/storage.ts";
import { checkpointNames } from "../../src/train/checkpoint.ts";
import type { RunStore, StoredRun } from "./runs.ts";

const stepOf = (name: string) => Number(name.split("-").at(-1));

/** The adapters of a run that are kept: checkpoints, and the adapter of each finished phase. In the order of training. */
export async function keptAdapters(run: StoredRun, runs: RunStore): Promise<RunCheckpoint[]> {
  const kept: RunCheckpoint[] = [];
  for (let phase = 0; phase < run.phases.length; phase++) {
    const folder = runs.folder(run.id, phase);
    const { method } = run.phases[phase];
    for (const name of await checkpointNames(folder)) kept.push({ phase, method, step: stepOf(name) });
    if (phase < run.done && (await folder.exists(ADAPTER_WEIGHTS_FILE))) kept.push({ phase, method, step: null });
  }
  return kept;
}

/** The folder of one of these adapters. @throws {NotFoundError} */
export async function adapterAt(
  run: StoredRun,
  runs: RunStore,
  { phase, step }: Pick<RunCheckpoint, "phase" | "step">,
): Promise<Folder> {
  const folder = runs.folder(run.id, phase);
  if (step === null) {
    if (await folder.exists(ADAPTER_WEIGHTS_FILE)) return folder;
    throw new NotFoundError(`Phase ${phase + 1} of ${run.name} has not ended: it has no final adapter`);
  }
  const name = (await checkpointNames(folder)).find((one) => stepOf(one) === step);
  if (name === undefined) {
    throw new NotFoundError(`The checkpoint of step ${step} of ${run.name} is gone: only the newest are kept`);
  }
  return folder.folder(name);
}
