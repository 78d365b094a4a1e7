import { rowSet } from "../../data/mixture.ts";
import type { RowSource } from "../../data/paced-rows.ts";
import { splitRows } from "../../data/split-rows.ts";
import { RecipeError } from "../../errors.ts";
import type { Gpu } from "../../gpu/device.ts";
import type { Folder } from "../../io/storage.ts";
import type { GrpoRecipe, SftRecipe } from "../../recipe/recipe.ts";
import { imagesFrom } from "../images.ts";
import type { TrainSources } from "../train.ts";
import type { CallHost, Following } from "./host.ts";

/** What a caller gives itself, instead of a name in the recipe. */
export interface Given {
  model?: Folder;
  adapter?: Folder | null;
  /** opens the rows to train on; called again for each epoch if the recipe streams */
  train?: (model: Folder) => Promise<RowSource>;
  eval?: (model: Folder) => Promise<RowSource>;
  chat_template?: string | null;
}

/**
 * The opened sources of a run: what is given, else what the recipe names.
 *
 * @throws {RecipeError} the recipe names no model or no rows; evaluation rows would be training rows
 * @throws {NotFoundError} there is no such file, folder or hub repository
 */
export async function openSources(
  host: CallHost,
  recipe: SftRecipe | GrpoRecipe,
  gpu: Gpu,
  following: Following,
  given: Given = {},
): Promise<TrainSources> {
  const { model_name_or_path, dataset_name, datasets } = recipe;
  if (!given.model && !model_name_or_path)
    throw new RecipeError("model_name_or_path is missing: a folder with config.json and safetensors, or a hub id");
  if (!given.train && !dataset_name && !datasets)
    throw new RecipeError("dataset_name is missing: a JSONL or Parquet file, a folder of them, or a hub data set");
  const model = given.model ?? (await host.model(model_name_or_path!, recipe.model_revision, following));
  const named = recipe.adapter_name_or_path;
  const adapter = given.adapter ?? (named ? await host.model(named, "main", following) : null);
  const { train, held } = await rowsOf(host, recipe, model, following, given);
  const path = recipe.chat_template_path;
  return {
    gpu,
    model,
    adapter,
    train,
    eval: held,
    images: host.images && imagesFrom(host.images),
    chat_template: given.chat_template ?? (path ? await host.chatTemplate(path, following) : null),
    signal: following.signal,
    onProgress: (what, done, total) =>
      following.report(what, done, total, total === null ? "rows" : what === "weights" ? "bytes" : "steps"),
  };
}

/** Rows to train on and to evaluate on. */
async function rowsOf(
  host: CallHost,
  recipe: SftRecipe | GrpoRecipe,
  model: Folder,
  following: Following,
  given: Given,
): Promise<{ train: RowSource; held: RowSource | null }> {
  const { dataset_name, datasets, test_split_size, seed } = recipe;
  const named = (name: string, split: string) => host.rows(name, split, recipe, model, following);
  const evaluating = recipe.eval_strategy !== "no";
  if (given.eval && !evaluating) {
    throw new RecipeError("There are rows for evaluation, but eval_strategy is no: set it to steps or epoch");
  }
  const own = given.train ? evaluating && !given.eval && test_split_size !== null : host.splitsOwnRows(recipe);
  if (given.train && evaluating && !given.eval && !own && recipe.eval_dataset_name === null) {
    throw new RecipeError(
      `Cannot evaluate: eval_strategy is ${recipe.eval_strategy}, but there are no rows for it. Give eval rows, or hold out some of the data with test_split_size (0.1 is a tenth)`,
    );
  }
  const streams = datasets ? recipe.streaming : recipe.dataset_streaming;
  const training = () => (given.train ? given.train(model) : named(dataset_name!, recipe.dataset_train_split));
  const all: RowSource =
    datasets && !given.train
      ? host.mixture(datasets, following)
      : streams
        ? rowSet(async () => inTurn(await training()))
        : await training();
  if (own) return splitRows(all, test_split_size!, seed);
  if (!evaluating) return { train: all, held: null };
  const held = given.eval
    ? await given.eval(model)
    : await named(recipe.eval_dataset_name ?? dataset_name!, recipe.dataset_test_split);
  return { train: all, held };
}

async function* inTurn(rows: RowSource) {
  yield* rows;
}
