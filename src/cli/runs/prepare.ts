import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { rowSet } from "../../data/mixture.ts";
import { NotFoundError, RecipeError } from "../../errors.ts";
import type { Gpu } from "../../gpu/device.ts";
import { usualCache } from "../../platform/node/cache-folder.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import { nodeImages } from "../../platform/node/image-files.ts";
import {
  fieldOf,
  type GrpoRecipe,
  type Method,
  methods,
  type ParsedRecipe,
  parseRecipe,
  type SftRecipe,
} from "../../recipe/recipe.ts";
import { parseRecipeYaml } from "../../recipe/yaml.ts";
import { type ImageAccess, imagesFrom } from "../../session/images.ts";
import type { PreparedBase } from "../../session/open.ts";
import type { TrainSources } from "../../session/train.ts";
import { formatBytes } from "../../text/bytes.ts";
import { renderTable } from "../../text/tables.ts";
import { type CliFlag, type ParsedArgs, UsageError } from "../args.ts";
import { openDataset } from "../sources/datasets.ts";
import { embeddedRecipe } from "../sources/embedded.ts";
import { splitRows, splitsOwnRows } from "../sources/held-out.ts";
import { hubOptions } from "../sources/hub.ts";
import { openMixture } from "../sources/mixture.ts";
import { checkStages, publishedRecipe, readPublished } from "../sources/published.ts";
import { openChatTemplate, openModelFolder } from "../sources/sources.ts";

/** The flag `--recipe`. */
export const RECIPE_FLAG: CliFlag = {
  name: "recipe",
  type: "string",
  value: "NAME",
  help: "A published recipe included in Qwench, instead of a file. qwench recipe lists them.",
};

/**
 * The recipe of a command line: a YAML file or a published recipe, overridden by flags. Without a recipe, a model or rows, it
 * is the embedded model's recipe.
 *
 * @param trains whether the command trains, so that an earlier stage's result must exist
 * @throws {NotFoundError} also if a published second stage lacks its first stage's result
 */
export async function readRecipe<M extends Method>(
  { positional, overrides, flags }: ParsedArgs,
  method: M,
  { trains = flags.dry_run === undefined }: { trains?: boolean } = {},
): Promise<ParsedRecipe<M>> {
  const names = [...positional, ...(flags.recipe === undefined ? [] : [`--recipe ${flags.recipe}`])];
  if (names.length > 1) throw new UsageError(`Give at most one recipe, got ${names.join(", ")}`);
  if (typeof flags.recipe === "string") {
    const parsed = readPublished(flags.recipe, method, overrides);
    if (trains) checkStages(flags.recipe, parsed.recipe as SftRecipe);
    return parsed;
  }
  const [file] = positional;
  if (file === undefined) {
    if (["model_name_or_path", "dataset_name", "datasets"].some((name) => name in overrides))
      return parseRecipe(overrides, method);
    const { recipe, notes } = parseRecipe({ ...embeddedRecipe(method, overrides), ...overrides }, method);
    const note = "no recipe, model or rows given: training the embedded model on its own problems";
    return { recipe, notes: [note, ...notes] };
  }
  return parseRecipeYaml(await recipeText(file), file, method, overrides);
}

/** The text of a recipe's file. @throws {NotFoundError} */
export async function recipeText(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new NotFoundError(`Cannot read recipe ${file}: ${(error as Error).message}`);
  }
}

/**
 * The method of a command line whose command does not determine it: `--method`, else a published recipe's method, else sft if
 * it has every field in the recipe's file and flags, else dpo or grpo, whichever has more of the fields.
 *
 * @throws {UsageError} an unknown method
 */
export async function methodOf(argv: readonly string[]): Promise<Method> {
  const flags = argv.filter((arg) => arg.startsWith("--")).map((arg) => arg.slice(2));
  const at = argv.indexOf("--method");
  const said = at >= 0 ? argv[at + 1] : flags.find((flag) => flag.startsWith("method="))?.slice("method=".length);
  if (said !== undefined) {
    const method = methods.find((name) => name === said);
    if (!method) throw new UsageError(`--method must be one of ${methods.join(", ")}, got ${said}`);
    return method;
  }
  const named = argv.indexOf("--recipe");
  const recipe =
    named >= 0 ? argv[named + 1] : flags.find((flag) => flag.startsWith("recipe="))?.slice("recipe=".length);
  if (recipe !== undefined) return publishedRecipe(recipe).method;
  const file = argv.find((arg) => /\.ya?ml$/i.test(arg));
  const text = file === undefined ? "" : await recipeText(file);
  const keys = [...text.matchAll(/^["']?(\w+)["']?[ \t]*:[ \t]*([\w.-]*)/gm)].map(([, name, value]) => ({
    name,
    value,
  }));
  const used = [...keys, ...flags.map(flagOf)];
  const takes = ({ name, value }: { name: string; value: string }, method: Method) => {
    const field = fieldOf(name, method);
    if (field === null || value === "") return field !== null;
    return field.type !== "choice" || [...field.choices!, ...Object.keys(field.missing ?? {})].includes(value);
  };
  const known = used.filter((one) => methods.some((method) => takes(one, method)));
  const odd = (method: Method) => known.filter((one) => !takes(one, method)).length;
  if (odd("sft") === 0) return "sft";
  return odd("dpo") < odd("grpo") ? "dpo" : "grpo";
}

/** A flag's name in a recipe, and its value. */
function flagOf(flag: string): { name: string; value: string } {
  const [name, value = ""] = flag.split("=");
  return { name: name.replaceAll("-", "_"), value };
}

/** How the command line reads images; their features are kept in the user's cache. */
export function imageAccess(): ImageAccess {
  const cache = usualCache();
  return nodeImages(cache === null ? null : nodeFolder(join(cache, "features")));
}

/** The opened sources that a recipe names. */
export async function openSources(
  recipe: SftRecipe | GrpoRecipe,
  gpu: Gpu,
  signal: AbortSignal,
  status: (line: string) => void,
): Promise<TrainSources> {
  const { model_name_or_path, dataset_name, datasets } = recipe;
  if (!model_name_or_path)
    throw new RecipeError("model_name_or_path is missing: a folder with config.json and safetensors, or a hub id");
  if (!dataset_name && !datasets)
    throw new RecipeError("dataset_name is missing: a JSONL or Parquet file, a folder of them, or a hub data set");
  const hub = hubOptions(signal, ({ file, totalReceived, totalSize }) =>
    status(`Downloading ${file}: ${formatBytes(totalReceived)} of ${formatBytes(totalSize)}`),
  );
  const model = await openModelFolder(model_name_or_path, recipe.model_revision, hub);
  const adapter = recipe.adapter_name_or_path ? await openModelFolder(recipe.adapter_name_or_path, "main", hub) : null;
  const rows = (name: string, split: string) => openDataset(name, split, recipe, hub, model);
  const own = splitsOwnRows(recipe);
  const streams = datasets ? recipe.streaming : recipe.dataset_streaming;
  const training = () => rows(dataset_name!, recipe.dataset_train_split);
  const all = datasets ? openMixture(datasets, hub) : streams ? rowSet(training) : await training();
  const evaluating = recipe.eval_strategy !== "no";
  const { train, held } = own
    ? await splitRows(all, recipe.test_split_size!, recipe.seed)
    : {
        train: all,
        held: evaluating ? await rows(recipe.eval_dataset_name ?? dataset_name!, recipe.dataset_test_split) : null,
      };
  const chat_template = recipe.chat_template_path ? await openChatTemplate(recipe.chat_template_path, hub) : null;
  return {
    gpu,
    model,
    adapter,
    train,
    eval: held,
    images: imagesFrom(imageAccess()),
    chat_template,
    signal,
    onProgress: (what, done, total) => status(progressText(what, done, total)),
  };
}

/** Rows are counted without a total, weights in bytes, and other work in steps. */
function progressText(what: string, done: number, total: number | null): string {
  if (total === null) return `Reading ${what}: ${done}`;
  if (what === "compiling kernels") return `Compiling kernels: ${done} of ${total}`;
  if (what !== "weights") return `Computing ${what}: ${done} of ${total}`;
  return `Loading ${what}: ${formatBytes(done)} of ${formatBytes(total)}`;
}

/** The forecast as a table. Omits `available` if it is unknown. */
export function forecastTable({ forecast }: Pick<PreparedBase, "forecast">, available?: number | null): string {
  const kinds = Object.entries(forecast.byKind).filter(([, bytes]) => bytes > 0);
  const rows = kinds.sort(([, a], [, b]) => b - a).map(([kind, bytes]) => [kind, formatBytes(bytes)]);
  rows.push(["peak", formatBytes(forecast.peak)]);
  if (available !== undefined) rows.push(["available", available === null ? "unknown" : formatBytes(available)]);
  return renderTable([{ heading: "memory" }, { heading: "GPU", align: "right" }], rows);
}
