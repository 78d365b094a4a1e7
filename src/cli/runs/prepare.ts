import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { NotFoundError } from "../../errors.ts";
import type { Gpu } from "../../gpu/device.ts";
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
import type { CallHost, CallProgress, Report } from "../../session/call/host.ts";
import { openSources as openNamed } from "../../session/call/sources.ts";
import type { PreparedBase } from "../../session/open.ts";
import type { TrainSources } from "../../session/train.ts";
import { formatBytes } from "../../text/bytes.ts";
import { renderTable } from "../../text/tables.ts";
import { type CliFlag, type ParsedArgs, UsageError } from "../args.ts";
import { embeddedRecipe } from "../sources/embedded.ts";
import { isFileLike } from "../sources/file-names.ts";
import { nodeHost } from "../sources/node-host.ts";
import { checkStages, publishedRecipe, readPublished } from "../sources/published.ts";

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
  if (file !== undefined && !existsSync(file)) {
    const what = isFileLike(file) ? NotFoundError : UsageError;
    throw new what(`Cannot read recipe ${file}: there is no such file. A recipe is a YAML file, or --recipe NAME`);
  }
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

/** The opened sources that a recipe names. @param status receives one line of progress */
export function openSources(
  recipe: SftRecipe | GrpoRecipe,
  gpu: Gpu,
  signal: AbortSignal,
  status: (line: string) => void,
  host: CallHost = nodeHost,
): Promise<TrainSources> {
  const report: Report = (...said) => status(progressText(...said));
  return openNamed(host, recipe, gpu, { signal, report });
}

function progressText(what: string, done: number, total: number | null, unit: CallProgress["unit"]): string {
  if (total === null) return `Reading ${what}: ${done}`;
  if (what === "compiling kernels") return `Compiling kernels: ${done} of ${total}`;
  if (unit === "steps") return `Computing ${what}: ${done} of ${total}`;
  return `${what === "weights" ? "Loading" : "Downloading"} ${what}: ${formatBytes(done)} of ${formatBytes(total)}`;
}

/** The forecast as a table. Omits `available` if it is unknown. */
export function forecastTable({ forecast }: Pick<PreparedBase, "forecast">, available?: number | null): string {
  const kinds = Object.entries(forecast.byKind).filter(([, bytes]) => bytes > 0);
  const rows = kinds.sort(([, a], [, b]) => b - a).map(([kind, bytes]) => [kind, formatBytes(bytes)]);
  rows.push(["peak", formatBytes(forecast.peak)]);
  if (available !== undefined) rows.push(["available", available === null ? "unknown" : formatBytes(available)]);
  return renderTable([{ heading: "memory" }, { heading: "GPU", align: "right" }], rows);
}
