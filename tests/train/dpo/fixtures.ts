import type { NumberedRow } from "../../../src/data/rows.ts";
import { type DpoRecipe, parseRecipe } from "../../../src/recipe/recipe.ts";
import { integers } from "../fixtures.ts";

/** Random pairs of tokens of a tiny vocabulary. */
export function pairRows(count: number, seed = 3): NumberedRow[] {
  const next = integers(seed);
  const ids = (least: number, more: number) => Array.from({ length: least + next(more) }, () => next(256));
  return Array.from({ length: count }, (_, i) => ({
    row: { prompt_ids: ids(2, 6), chosen_ids: ids(2, 9), rejected_ids: ids(2, 9) },
    number: i + 1,
    file: "pairs.jsonl",
  }));
}

/** A recipe for quick runs: every step logged, nothing saved but what is asked for. */
export const dpoRecipe = (values: Record<string, unknown> = {}): DpoRecipe =>
  parseRecipe(
    {
      per_device_train_batch_size: 3,
      max_steps: 6,
      logging_steps: 1,
      save_strategy: "no",
      learning_rate: 1e-2,
      lora_r: 4,
      output_dir: "out",
      ...values,
    },
    "dpo",
  ).recipe;
