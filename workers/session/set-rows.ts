import type { NumberedRow } from "../../src/data/rows.ts";
import type { DataSet } from "../../src/data/sets/data-set.ts";
import { dataSetNamed, readDataSet, readSetOptions } from "../../src/data/sets/registry.ts";
import { RecipeError } from "../../src/errors.ts";
import type { SftRecipe } from "../../src/recipe/recipe.ts";

/**
 * Rows in the form of the data set that `dataset_format` names: its question as a prompt, and its solution as `dataset_options`
 * says, such as with XML tags.
 *
 * @throws {RecipeError} options that the page cannot follow, or without a format
 */
export function inForm(
  rows: AsyncIterable<NumberedRow>,
  recipe: Partial<Pick<SftRecipe, "dataset_format" | "dataset_options" | "system_prompt">>,
  side: string,
): AsyncIterable<NumberedRow> {
  const { dataset_format: format = null, system_prompt = null } = recipe;
  const options = readSetOptions(recipe.dataset_options ?? {});
  if (format === null) {
    if (Object.keys(options).length === 0) return rows;
    throw new RecipeError("dataset_options need a dataset_format, such as gsm8k: it says how the rows are read");
  }
  if (options.max_reasoning_tokens !== undefined || options.min_reasoning_tokens !== undefined) {
    throw new RecipeError("max_reasoning_tokens and min_reasoning_tokens do not work in the page: remove them");
  }
  const set: DataSet = dataSetNamed(format);
  return readDataSet(set, [{ rows }], { ...options, side, system_prompt });
}
