import type { Gpu } from "../../gpu/device.ts";
import type { Folder } from "../../io/storage.ts";
import type { Platform } from "../../platform/index.ts";
import { freeBytes, nodeFolder } from "../../platform/node/fs.ts";
import type { SftRecipe } from "../../recipe/recipe.ts";
import type { PreparedBase } from "../../session/open.ts";
import { resumeFrom } from "../../session/run-folder.ts";
import { tune } from "../../session/tune.ts";
import { changedOrder, changedRounding, roundingOf, type TrainerState } from "../../train/checkpoint.ts";
import type { DueFields } from "../../train/due.ts";
import { checkForecast } from "../../train/forecast/memory.ts";
import { statusLine } from "../terminal/status-line.ts";
import { collectGarbage } from "./collect.ts";
import { checkDisk, checkpointBytes, diskForecast } from "./disk.ts";
import { availableMemory, openGpu } from "./open-gpu.ts";
import { forecastTable } from "./prepare.ts";
import { tuningStore } from "./tuning.ts";

/** Recipe fields that a run of any method needs. */
export type RunRecipe = Pick<
  SftRecipe,
  | "model_name_or_path"
  | "dataset_name"
  | "output_dir"
  | "overwrite_output_dir"
  | "resume_from_checkpoint"
  | "max_memory"
  | "profile"
  | "save_total_limit"
  | "report_to"
  | "run_name"
  | "project"
> &
  DueFields;

/** The message of an interrupted run. */
export const STOPPING = "\nStopping at the next step boundary, with a checkpoint. Ctrl-C again ends at once.";

/** A run before its model is read: its folder has been checked and its GPU adapter is open. */
export interface StartedRun {
  output: Folder;
  /** the checkpoint to resume from, and its step */
  resume: Folder | null;
  step: number | null;
  /** of that checkpoint */
  state: TrainerState | null;
  gpu: Gpu;
  platform: Platform;
  signal: AbortSignal;
  status: (line: string | null) => void;
}

/**
 * Checks the run's folder, then opens the adapter.
 *
 * @param verify throws if a checkpoint lacks files that its method needs
 */
export async function startRun(
  recipe: RunRecipe,
  signal: AbortSignal,
  verify?: (checkpoint: Folder) => Promise<unknown>,
): Promise<StartedRun> {
  const output = nodeFolder(recipe.output_dir);
  const { model_name_or_path: model, resume_from_checkpoint: wanted, overwrite_output_dir: overwrite } = recipe;
  const from = typeof wanted === "string" ? nodeFolder(wanted) : wanted === true;
  const { resume, state } = await resumeFrom(output, {
    model: model ? nodeFolder(model).path : null,
    from,
    overwrite,
    verify,
  });
  const step = state?.global_step ?? null;
  const changed = state ? changedOrder(state, recipe) : [];
  if (changed.length > 0) {
    console.error(
      `note: ${resume!.path} used another order of rows: ${changed.join(", ")}. From step ${step! + 1} on, rows come in this recipe's order`,
    );
  }
  const { gpu, platform } = await openGpu({ profile: recipe.profile });
  console.error(`Adapter: ${platform.describe}`);
  return { output, resume, step, state, gpu, platform, signal, status: statusLine() };
}

/** Prints the run and its memory forecast, rejects a run that does not fit, and picks kernel variants. */
export async function announce(
  recipe: RunRecipe,
  { gpu, platform, output, signal, status, resume, state }: StartedRun,
  prepared: PreparedBase,
  description: string,
): Promise<void> {
  status(null);
  for (const note of prepared.notes) console.error(`note: ${note}`);
  const rounding = state ? changedRounding(state, roundingOf(gpu)) : [];
  if (rounding.length > 0) {
    console.error(
      `note: ${resume!.path} was computed with other rounding: ${rounding.join(", ")}. From step ${state!.global_step + 1} on, numbers are not those of a run that was never interrupted`,
    );
  }
  console.error(description);
  const available = availableMemory(platform, recipe.max_memory);
  console.error(`\n${forecastTable(prepared, available)}`);
  checkForecast(prepared.forecast, available);
  const free = await freeBytes(output.path);
  checkDisk(output.path, free === null ? null : free + (await checkpointBytes(output)), diskForecast(recipe, prepared));
  await collectGarbage();
  await tune(gpu, prepared, tuningStore(), { signal, onBegin: status }); // before loading the weights, so that its memory is free again by then
  status(null);
}
