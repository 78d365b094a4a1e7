import { existsSync, statSync } from "node:fs";
import { withColumns } from "../../data/columns.ts";
import { readRows } from "../../data/dataset.ts";
import type { NumberedRow } from "../../data/rows.ts";
import type { DataSet } from "../../data/sets/data-set.ts";
import { DATA_SETS, dataSetNamed, type Part, readDataSet, readSetOptions } from "../../data/sets/registry.ts";
import { NotFoundError, RecipeError } from "../../errors.ts";
import { fetchDataset } from "../../io/hub/dataset.ts";
import type { Folder } from "../../io/storage.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import type { GrpoRecipe } from "../../recipe/recipe.ts";
import { openTokenizer } from "../../session/tokenizer.ts";
import type { CliHub } from "./hub.ts";
import { DATA_FILE, openFile, openRows, splitFiles } from "./sources.ts";

/** Recipe fields about the rows. */
type DatasetFields = Pick<GrpoRecipe, "dataset_config" | "system_prompt"> &
  Partial<Pick<GrpoRecipe, "dataset_format" | "dataset_options" | "columns">>;

/** The split that `shares` divides. */
const WHOLE_SPLIT = "train";

/**
 * Rows of a file, a folder or a hub data set. If the recipe names a data set that Qwench knows, the rows are converted to its
 * form, and are downloaded and read on demand.
 *
 * @param name `dataset_name`, or `eval_dataset_name`
 * @param split its split, or the side of the problems if `dataset_options` has shares
 * @param model its tokenizer counts reasoning tokens
 * @throws {RecipeError} the options do not apply to this data set
 */
export async function openDataset(
  name: string,
  split: string,
  recipe: DatasetFields,
  hub: CliHub,
  model: Folder,
): Promise<AsyncIterable<NumberedRow>> {
  const known = !existsSync(name) && Object.hasOwn(DATA_SETS, name);
  const format = known ? name : (recipe.dataset_format ?? null);
  if (format === null) {
    if ((recipe.dataset_options ?? null) !== null) {
      throw new RecipeError(
        `dataset_options are for data sets that Qwench knows (${Object.keys(DATA_SETS).join(", ")}), but ${name} is not one of them; set dataset_format`,
      );
    }
    return withColumns(await openRows(name, { config: recipe.dataset_config, split }, hub), recipe.columns);
  }
  if ((recipe.columns ?? null) !== null) {
    throw new RecipeError(`columns does not apply to rows in the format ${format}, whose columns Qwench knows`);
  }
  const set = dataSetNamed(format);
  const options = readSetOptions(recipe.dataset_options ?? {});
  const from = options.shares ? WHOLE_SPLIT : split;
  const parts = known ? atHome(set, from, recipe.dataset_config, hub) : await elsewhere(set, name, from, recipe, hub);
  const counts = options.max_reasoning_tokens !== undefined || options.min_reasoning_tokens !== undefined;
  const tokenizer = counts ? await openTokenizer(model) : null;
  if (counts && !tokenizer) throw new RecipeError(`max_reasoning_tokens needs a tokenizer, but ${model.path} has none`);
  return readDataSet(set, parts, {
    ...options,
    side: split,
    system_prompt: recipe.system_prompt,
    ...(tokenizer && { count_tokens: (text) => tokenizer.encode(text).length }),
  });
}

/** The parts of a data set in its hub repository. */
function atHome(set: DataSet, split: string, config: string | null, hub: CliHub): Part[] {
  return set.homes.map((home) => ({
    name: home.part ?? set.name,
    rows: fetched(home.id, { ...hub, config: config ?? home.config, split: home.splits?.[split] ?? split }),
  }));
}

async function* fetched(
  id: string,
  { readOnly, ...options }: CliHub & Parameters<typeof fetchDataset>[1],
): AsyncGenerator<NumberedRow> {
  let begun = false;
  if (readOnly) {
    try {
      for await (const { folder, file } of fetchDataset(id, { ...options, cache: readOnly, offline: true })) {
        begun = true;
        yield* readRows(await openFile(folder, file));
      }
      return;
    } catch (error) {
      if (begun || options.offline || !(error instanceof NotFoundError)) throw error;
    }
  }
  for await (const { folder, file } of fetchDataset(id, options)) yield* readRows(await openFile(folder, file));
}

/** The parts of a data set in a file, in a folder, or in another hub repository. */
async function elsewhere(
  set: DataSet,
  name: string,
  split: string,
  recipe: DatasetFields,
  hub: CliHub,
): Promise<Part[]> {
  if (!existsSync(name) || !statSync(name).isDirectory()) {
    return [{ rows: await openRows(name, { config: recipe.dataset_config, split }, hub) }];
  }
  const folder = nodeFolder(name);
  const files = set.whole_folder
    ? (await folder.list()).filter((file) => DATA_FILE.test(file)).sort()
    : await splitFiles(folder, split);
  return Promise.all(files.map(async (file) => ({ rows: readRows(await folder.open(file)) })));
}
