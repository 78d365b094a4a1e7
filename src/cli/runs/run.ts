import { QwenchError, RecipeError } from "../../errors.ts";
import type { Gpu } from "../../gpu/device.ts";
import type { Folder } from "../../io/storage.ts";
import type { Platform } from "../../platform/index.ts";
import { freeBytes, nodeFolder } from "../../platform/node/fs.ts";
import type { SftRecipe } from "../../recipe/recipe.ts";
import type { PreparedBase } from "../../session/open.ts";
import { tune } from "../../session/tune.ts";
import { changedOrder, checkpointNames, findCheckpoint } from "../../train/checkpoint.ts";
import type { DueFields } from "../../train/due.ts";
import { checkForecast } from "../../train/forecast/memory.ts";
import { statusLine } from "../terminal/status-line.ts";
import { collectGarbage } from "./collect.ts";
import { checkDisk, checkpointBytes, diskForecast } from "./disk.ts";
import { availableMemory, openGpu } from "./open-gpu.ts";
import { forecastTable } from "./prepare.ts";
import { metricsFile } from "./run-log.ts";
import { tuningStore } from "./tuning.ts";

/** What a run of any method needs of its recipe. */
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

/** Said when a run is interrupted. */
export const STOPPING = "\nStopping at the next step boundary, with a checkpoint. Ctrl-C again ends at once.";

/** A run before its model is read: its folder was looked at, its adapter is open. */
export interface StartedRun {
  output: Folder;
  /** the checkpoint to go on from, and its step */
  resume: Folder | null;
  step: number | null;
  gpu: Gpu;
  platform: Platform;
  signal: AbortSignal;
  status: (line: string | null) => void;
}

/**
 * Looks at the run's folder, then opens the adapter.
 *
 * @param verify throws where a checkpoint lacks what its method needs more
 */
export async function startRun(
  recipe: RunRecipe,
  signal: AbortSignal,
  verify?: (checkpoint: Folder) => Promise<unknown>,
): Promise<StartedRun> {
  const output = nodeFolder(recipe.output_dir);
  const { resume, step, changed } = await resumeFrom(recipe, output, verify);
  if (changed.length > 0) {
    console.error(
      `note: ${resume!.path} saw its rows in another order: ${changed.join(", ")}. From step ${step! + 1} on they come as this recipe has them`,
    );
  }
  const { gpu, platform } = await openGpu({ profile: recipe.profile });
  console.error(`Adapter: ${platform.describe}`);
  return { output, resume, step, gpu, platform, signal, status: statusLine() };
}

/** Says what will run and what memory it takes, refuses what does not fit, and picks kernel variants. */
export async function announce(
  recipe: RunRecipe,
  { gpu, platform, output, signal, status }: StartedRun,
  prepared: PreparedBase,
  description: string,
): Promise<void> {
  status(null);
  for (const note of prepared.notes) console.error(`note: ${note}`);
  console.error(description);
  const available = availableMemory(platform, recipe.max_memory);
  console.error(`\n${forecastTable(prepared, available)}`);
  checkForecast(prepared.forecast, available);
  const free = await freeBytes(output.path);
  checkDisk(output.path, free === null ? null : free + (await checkpointBytes(output)), diskForecast(recipe, prepared));
  await collectGarbage();
  await tune(gpu, prepared, tuningStore(), { signal, onBegin: status }); // before the weights: what it takes is given back by then
  status(null);
}

/** Files that an earlier run, or a model, may have left in a folder. */
const KEPT = [metricsFile, "adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json"];

/** What `--resume_from_checkpoint` means, and the step it goes on from. Changes nothing. */
async function resumeFrom(
  recipe: RunRecipe,
  output: Folder,
  verify?: (checkpoint: Folder) => Promise<unknown>,
): Promise<{ resume: Folder | null; step: number | null; changed: string[] }> {
  const wanted = recipe.resume_from_checkpoint;
  if (recipe.model_name_or_path && output.path === nodeFolder(recipe.model_name_or_path).path) {
    throw new RecipeError(
      `output_dir and model_name_or_path are one folder, ${output.path}: the run would write into it`,
    );
  }
  if (wanted === null || wanted === false) {
    const files = await output.list();
    const first = [...(await checkpointNames(output)), ...KEPT.filter((name) => files.includes(name))][0];
    if (first && !recipe.overwrite_output_dir) {
      throw new QwenchError(
        `Cannot start a run in ${output.path}: it holds ${first} of another one. Go on with --resume_from_checkpoint true, replace it with --overwrite_output_dir true, or name another --output_dir`,
      );
    }
    return { resume: null, step: null, changed: [] };
  }
  const { state, folder } = await findCheckpoint(output, wanted === true ? true : nodeFolder(wanted), verify);
  return { resume: folder, step: state.global_step, changed: changedOrder(state, recipe) };
}
