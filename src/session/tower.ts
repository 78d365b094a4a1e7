import { withoutImages } from "../data/images/rows.ts";
import type { RowSource } from "../data/paced-rows.ts";
import type { NumberedRow } from "../data/row-error.ts";
import { UnsupportedError } from "../errors.ts";
import { changesTower } from "../model/adapters/targets.ts";
import type { ModelConfig } from "../model/config.ts";
import type { Images } from "./images.ts";
import type { OpenBase } from "./open.ts";

/** @throws {UnsupportedError} an adapter that changes the vision tower: the reference would need another tower */
export function refuseTower({ config, lora }: Pick<OpenBase, "config" | "lora">): void {
  if (!lora || !changesTower(config, lora)) return;
  throw new UnsupportedError(
    "Cannot go on from an adapter of the vision tower in this method, which keeps the tower frozen: merge the adapter first with qwench export, and train on the merged model",
  );
}

/** Rows with their images opened. @throws {DataError} a row with images for a model that sees none, or one that cannot be used */
export function seenRows(rows: RowSource, images: Images | null, { vision }: ModelConfig): AsyncGenerator<NumberedRow> {
  if (images) return images.rows(rows);
  return withoutImages(
    rows,
    vision
      ? "nothing was given to open them with: pass images: imagesFrom(…) beside the rows"
      : "the model has no vision tower to see them: use a model that sees, such as Qwen/Qwen3.5-0.8B, or rows without images",
  );
}
