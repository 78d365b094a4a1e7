import { existsSync, realpathSync, statSync } from "node:fs";
import { DATA_SETS } from "../../data/sets/registry.ts";
import { RecipeError } from "../../errors.ts";
import type { SftRecipe } from "../../recipe/recipe.ts";

export type HeldOutFields = Pick<
  SftRecipe,
  | "dataset_name"
  | "datasets"
  | "dataset_train_split"
  | "dataset_test_split"
  | "eval_dataset_name"
  | "test_split_size"
  | "eval_strategy"
> &
  Partial<Pick<SftRecipe, "dataset_options">>;

/** Whether a name gives the same rows for every split, as a file does. */
function isFile(name: string): boolean {
  return existsSync(name) && !statSync(name).isDirectory();
}

/**
 * Whether the evaluation rows come out of the training rows, by `test_split_size`.
 *
 * @throws {RecipeError} the run would train and evaluate on the same rows
 */
export function splitsOwnRows(recipe: HeldOutFields): boolean {
  const { dataset_name, eval_dataset_name, dataset_train_split, dataset_test_split, test_split_size } = recipe;
  if (recipe.eval_strategy === "no" || (dataset_name === null && recipe.datasets === null)) {
    if (test_split_size === null) return false;
    throw new RecipeError(
      `test_split_size ${test_split_size} keeps rows for evaluation, but eval_strategy is no; set eval_strategy, or remove test_split_size`,
    );
  }
  if (test_split_size !== null) {
    if (eval_dataset_name === null) return true;
    throw new RecipeError(
      `test_split_size ${test_split_size} and eval_dataset_name ${eval_dataset_name} both set the evaluation rows; remove one of them`,
    );
  }
  if (recipe.datasets !== null) {
    if (eval_dataset_name !== null) return false;
    throw new RecipeError(
      `Cannot evaluate: datasets has no rows for it, and eval_strategy is ${recipe.eval_strategy}. Hold out some rows with test_split_size (0.1 is a tenth), name other rows with eval_dataset_name, or set eval_strategy: no`,
    );
  }
  if (dataset_name === null) return false;
  // `shares` keeps the sides apart, even within one file
  if (recipe.dataset_options?.shares !== undefined) return false;
  const other = eval_dataset_name ?? dataset_name;
  const known = (name: string) => !existsSync(name) && Object.hasOwn(DATA_SETS, name);
  const file = isFile(dataset_name) && isFile(other) && realpathSync(dataset_name) === realpathSync(other);
  const split = !isFile(dataset_name) && other === dataset_name && dataset_train_split === dataset_test_split;
  if (!file && (!split || known(dataset_name))) return false;
  const what = file ? `${dataset_name} is one file` : `split ${dataset_train_split} of ${dataset_name}`;
  throw new RecipeError(
    `Cannot evaluate on the training rows: ${what}${file ? ", and eval_strategy is" : " is dataset_train_split and dataset_test_split, and eval_strategy is"} ${recipe.eval_strategy}. Hold out some rows with test_split_size (0.1 is a tenth), name other rows with eval_dataset_name, or set eval_strategy: no`,
  );
}
