import { QwenchError, RecipeError } from "../errors.ts";
import type { Folder } from "../io/storage.ts";
import { checkpointNames, findCheckpoint, type TrainerState } from "../train/checkpoint.ts";
import { metricsFile } from "./run-log.ts";

/** Files that show that a folder holds an earlier run or a model. */
const KEPT = [metricsFile, "adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json"];

/** What a run may do with the folder that it writes to. */
interface FolderUse {
  /** path of the base model's folder, which a run must not overwrite; null: none */
  model: string | null;
  /** the checkpoint to continue from; true: the newest of the folder; false: a fresh run */
  from: Folder | boolean;
  /** whether a fresh run may replace another one */
  overwrite: boolean;
  /** throws if a checkpoint lacks files that its method needs */
  verify?: (checkpoint: Folder) => Promise<unknown>;
}

/**
 * The checkpoint that a run continues from, with its state. Changes nothing.
 *
 * @throws {RecipeError} the folder is the model's
 * @throws {QwenchError} a fresh run would replace another one
 * @throws {NotFoundError} there is no such checkpoint
 */
export async function resumeFrom(
  output: Folder,
  { model, from, overwrite, verify }: FolderUse,
): Promise<{ resume: Folder | null; state: TrainerState | null }> {
  if (model !== null && output.path === model) {
    throw new RecipeError(
      `output_dir and model_name_or_path are the same folder, ${output.path}: the run would overwrite the model`,
    );
  }
  if (from === false) {
    const files = await output.list();
    const first = [...(await checkpointNames(output)), ...KEPT.filter((name) => files.includes(name))][0];
    if (first && !overwrite) {
      throw new QwenchError(
        `Cannot start a run in ${output.path}: it holds ${first} of another run. Continue that run with --resume_from_checkpoint true, replace it with --overwrite_output_dir true, or name another --output_dir`,
      );
    }
    return { resume: null, state: null };
  }
  const { state, folder } = await findCheckpoint(output, from, verify);
  return { resume: folder, state };
}
