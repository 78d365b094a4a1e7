import type { RunEvent, SavedStep } from "../../src/client/types.ts";
import { BusyError, DataError, NotFoundError, QwenchError } from "../../src/errors.ts";
import { ADAPTER_WEIGHTS_FILE } from "../../src/io/peft.ts";
import type { Folder } from "../../src/io/storage.ts";
import { checkpointNames } from "../../src/train/checkpoint.ts";
import { evaluate } from "./evaluate.ts";
import type { GpuHolder } from "./gpu.ts";
import { openKept, textStorage } from "./kept-text.ts";
import type { Library } from "./library.ts";
import { phaseRecipe } from "./recipes.ts";
import { reporting } from "./reporting.ts";
import { note, type RunStore, type StoredRun } from "./runs.ts";

interface EvaluationInput {
  id: string;
  at: SavedStep | undefined;
  runs: RunStore;
  library: Library;
  holder: GpuHolder;
  signal: AbortSignal;
}

/** The saved states of a run, the newest first: its checkpoints, and the ends of its phases. */
export async function savedSteps(run: StoredRun, runs: RunStore): Promise<SavedStep[]> {
  const found: SavedStep[] = [];
  for (let phase = run.phases.length - 1; phase >= 0; phase--) {
    const folder = runs.folder(run.id, phase);
    const names = await checkpointNames(folder);
    const steps = names.map((name) => Number(name.split("-").at(-1)));
    const { max_steps } = run.phases[phase];
    if (phase < run.done && max_steps !== null && (await folder.exists(ADAPTER_WEIGHTS_FILE))) steps.push(max_steps);
    found.push(...[...new Set(steps)].sort((a, b) => b - a).map((step) => ({ phase, step })));
  }
  return found;
}

/** Solves the held-out problems with a saved state of a run, and keeps the result in its record. */
export async function* evaluateRun({
  id,
  at,
  runs,
  library,
  holder,
  signal,
}: EvaluationInput): AsyncGenerator<RunEvent> {
  const run = await runs.get(id);
  if (run.status === "running") throw new BusyError("Cannot evaluate a run while it is training: pause it first");
  const { job } = run;
  if (!job.evaluate) throw new DataError(`Cannot evaluate ${run.name}: its job has no held-out problems`);
  const saved = await savedSteps(run, runs);
  const chosen = at ? saved.find(({ phase, step }) => phase === at.phase && step === at.step) : saved[0];
  if (!chosen) throw new NotFoundError(`Cannot evaluate ${run.name}: it has saved no checkpoint there`);
  const lent = await holder.lend("a checkpoint is being evaluated");
  try {
    const folder = await folderOf(run, chosen, runs);
    const { gpu } = lent;
    const storage = textStorage(phaseRecipe(job, 0).recipe);
    const vision = run.evaluations.some(({ problems }) => problems.some(({ images }) => images !== undefined));
    const kept = yield* reporting((report: (event: RunEvent) => void) =>
      openKept({ model: job.model, storage, library, holder, gpu, vision, signal }, (what, done, total) =>
        report({ type: "progress", what, done, total, unit: "bytes" }),
      ),
    );
    await kept.adapter.put(folder, folder.path);
    const { model, tokenizer } = kept.text;
    if (!tokenizer) throw new QwenchError("Cannot solve held-out problems: the model has no tokenizer.json");
    const { phase, step } = chosen;
    const stage = job.phases[phase].method;
    const { images } = kept;
    const made = yield* evaluate(model, { job, library, tokenizer, images, signal, stage, phase });
    const end = phase < run.done && step === run.phases[phase].max_steps;
    const evaluation = end ? made : { ...made, step };
    const event: RunEvent = { type: "evaluated", evaluation };
    const newest = await runs.get(id); // another tab may have renamed it meanwhile
    note(newest, event);
    await runs.put(newest);
    yield event;
  } finally {
    lent.end();
  }
}

async function folderOf({ id, done, phases }: StoredRun, { phase, step }: SavedStep, runs: RunStore): Promise<Folder> {
  const folder = runs.folder(id, phase);
  if (phase < done && step === phases[phase].max_steps) return folder;
  return folder.folder(`checkpoint-${step}`);
}
