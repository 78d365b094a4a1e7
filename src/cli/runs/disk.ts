import { QuotaError } from "../../errors.ts";
import type { Folder } from "../../io/storage.ts";
import type { SftRecipe } from "../../recipe/recipe.ts";
import type { PreparedBase } from "../../session/open.ts";
import { formatFileSize } from "../../text/bytes.ts";
import { type DueFields, dueOf } from "../../train/due.ts";

type SaveFields = DueFields & Pick<SftRecipe, "save_total_limit">;

/** Bytes that a run will write: the checkpoints it keeps, the checkpoint in progress, and the result. */
export function diskForecast(
  recipe: SaveFields,
  { forecast, batches, companions }: Pick<PreparedBase, "forecast" | "batches" | "companions">,
): { checkpoint: number; checkpoints: number; total: number } {
  const texts = Object.values(companions).reduce((sum, text) => sum + text.length, 0);
  const result = 4 * forecast.trainable + texts;
  const checkpoint = result + (forecast.byKind.optimizer ?? 0);
  const due = dueOf(recipe, batches);
  let planned = 0;
  for (let step = 1; step <= batches.max_steps; step++) if (due(step).save) planned++;
  // an old checkpoint is deleted only after the next one is complete
  const most = recipe.save_total_limit === null ? planned : Math.max(1, recipe.save_total_limit) + 1;
  const checkpoints = Math.min(planned, most);
  return { checkpoint, checkpoints, total: checkpoints * checkpoint + result };
}

/** Bytes of complete and partial checkpoints in a run's folder. The run keeps or deletes them, so they do not count as used. */
export async function checkpointBytes(output: Folder): Promise<number> {
  let bytes = 0;
  for (const name of await output.folders()) {
    if (!/^(tmp-)?checkpoint-\d+$/.test(name)) continue;
    const folder = output.folder(name);
    for (const file of await folder.list()) bytes += (await folder.open(file)).size;
  }
  return bytes;
}

/**
 * Rejects a run whose checkpoints do not fit on the disk, before any computation.
 *
 * @param free free bytes, including those of existing checkpoints; null: unknown
 * @throws {QuotaError} the message says what is needed, what is free and what to change
 */
export function checkDisk(
  path: string,
  free: number | null,
  { checkpoint, checkpoints, total }: ReturnType<typeof diskForecast>,
): void {
  if (free === null || total <= free) return;
  throw new QuotaError(
    `Cannot train into ${path}: ${checkpoints} checkpoints of ${formatFileSize(checkpoint)} and the result take ${formatFileSize(total)}, but the disk has only ${formatFileSize(free)} left. Free some space, keep fewer (save_total_limit), save less often (save_steps), or name another output_dir`,
  );
}
