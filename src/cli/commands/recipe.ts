import { basename } from "node:path";
import { MemoryError, NotFoundError, QwenchError } from "../../errors.ts";
import type { Gpu } from "../../gpu/device.ts";
import { type PublishedShape, publishedShape, seeingShape } from "../../model/architectures/published.ts";
import { parseModelConfig } from "../../model/config.ts";
import { RECIPES } from "../../recipe/published.ts";
import type { GrpoRecipe, Method, Recipe, SftRecipe } from "../../recipe/recipe.ts";
import { type TrlSource, trlConfig } from "../../recipe/trl.ts";
import { parseRecipeYaml } from "../../recipe/yaml.ts";
import { forecastOf, passText } from "../../session/recipe-forecast.ts";
import type { RunLengths } from "../../session/time-forecast.ts";
import { formatNumber } from "../../text/numbers.ts";
import { markdownTable, renderTable } from "../../text/tables.ts";
import { checkForecast, type MemoryForecast } from "../../train/forecast/memory.ts";
import { type CliFlag, type ParsedArgs, UsageError } from "../args.ts";
import { diskLine, downloadLine, measureFor, timeLine, UNMEASURED } from "../runs/costs.ts";
import { diskForecast } from "../runs/disk.ts";
import { availableMemory, fitsText, openToForecast } from "../runs/open-gpu.ts";
import { forecastTable, methodOf, readRecipe, recipeText } from "../runs/prepare.ts";
import { publishedRecipe, publishedText, readPublished } from "../sources/published.ts";
import { statusLine } from "../terminal/status-line.ts";

export const RECIPE_COMMAND_FLAGS: readonly CliFlag[] = [
  {
    name: "for",
    type: "string",
    value: "trl",
    help: "Print the configuration that trl sft, trl grpo or trl dpo of TRL 1 reads with --config.",
  },
];

/** `qwench recipe`: lists the published recipes, or prints a published recipe or a file as Qwench's or TRL's YAML. */
export async function runRecipe({ positional, flags }: ParsedArgs): Promise<number> {
  if (positional.length > 1) throw new UsageError(`Give at most one recipe, got ${positional.join(", ")}`);
  const [name] = positional;
  if (flags.for !== undefined && flags.for !== "trl") throw new UsageError(`--for must be trl, got ${flags.for}`);
  if (name === undefined) {
    if (flags.for !== undefined) throw new UsageError("--for needs a recipe: qwench recipe NAME --for trl");
    const rows = RECIPES.map((recipe) => [recipe.name, recipe.method, recipe.about, recipe.source]);
    const columns = ["name", "method", "what", "source"].map((heading) => ({ heading }));
    console.log(renderTable(columns, rows, process.stdout.columns));
    console.log(
      "qwench sft|grpo|dpo --recipe NAME runs a recipe; --dry_run tiny tries it on a small random model. qwench recipe NAME prints it.",
    );
    return 0;
  }
  const { text, ...source } = await textOf(name);
  console.log((flags.for === "trl" ? trlConfig(text, source) : text).trimEnd());
  return 0;
}

/** A published recipe's text by its name, or the checked text of a file. */
async function textOf(name: string): Promise<TrlSource & { text: string }> {
  if (!/\.ya?ml$/i.test(name)) {
    const published = publishedRecipe(name);
    return { ...published, text: publishedText(published) };
  }
  const text = await recipeText(name);
  const method = await methodOf([name]);
  parseRecipeYaml(text, name, method);
  return { name: basename(name).replace(/\.ya?ml$/i, ""), method, source: name, text };
}

/** `qwench plan --recipe NAME`: forecasts from the model's published shape, without downloads. */
export async function planPublished(args: ParsedArgs, name: string, method: Method): Promise<number> {
  const { recipe, notes } = await readRecipe(args, method, { trains: false });
  for (const note of notes) console.error(`note: ${note}`);
  const { image = null, ...published } = publishedRecipe(name);
  const longest = longestAsked(args.overrides, method) ?? published.longest;
  const { forecast, text } = await describeForecast(recipe, method, { longest, image });
  console.log(text);
  console.log(forecastTable({ forecast }));
  const { gpu, platform, describe } = await openToForecast();
  const measure = measureFor(platform, args.flags.measure === true);
  console.log(await publishedCosts(recipe, method, { forecast, longest, image, gpu: platform && gpu, measure }));
  console.log(`Adapter: ${describe}`);
  const { maxBufferSize, maxStorageBufferBindingSize } = gpu.limits;
  const limits = { maxBufferSize, maxStorageBufferBindingSize };
  try {
    await forecastOf(recipe, method, { shape: shapeOf(recipe, image !== null), longest, image, limits });
  } catch (error) {
    if (error instanceof QwenchError) throw new MemoryError(`It does not fit this adapter: ${error.message}`);
    throw error;
  }
  const available = availableMemory(platform, (recipe as SftRecipe).max_memory);
  checkForecast(forecast, available);
  console.log(fitsText(available));
  return 0;
}

/** Download, disk and time of a recipe without its rows: each as long as the longest, so that the time is an upper bound. */
async function publishedCosts<M extends Method>(
  recipe: Recipe<M>,
  method: M,
  { forecast, longest, gpu, image, measure }: PublishedCosts,
): Promise<string> {
  const both = recipe as SftRecipe | GrpoRecipe;
  const { max_steps } = both;
  const lines = [`${downloadLine(2 * forecast.parameters)}, as bf16, unless the hub's cache has them`];
  if (max_steps > 0) {
    const batches = { max_steps, stepsPerEpoch: max_steps };
    lines.push(await diskLine(diskForecast(both, { forecast, batches, companions: {} }), both.output_dir));
  }
  const row = method === "dpo" ? 2 * longest : Math.min(longest, (both as SftRecipe).max_length ?? longest);
  const config = parseModelConfig({ ...shapeOf(both, image !== null) }, both.model_name_or_path ?? "config.json");
  const lengths: RunLengths = { row, labelled: row, context: longest / 2 };
  const input = () => ({ method, recipe, config, lora_r: both.use_peft ? both.lora_r : null, lengths, max_steps });
  const asked = { config, input, model: both.model_name_or_path ?? "", measure, most: true, status: statusLine() };
  const time = gpu && ((await timeLine({ gpu, ...asked })) ?? UNMEASURED);
  return `${[...lines, ...(time ? [time] : [])].join("\n")}\n`;
}

interface PublishedCosts {
  forecast: MemoryForecast;
  longest: number;
  /** null: there is no adapter here */
  gpu: Gpu | null;
  image: readonly [number, number] | null;
  /** milliseconds for compiling kernels to measure an adapter that never was; null: as long as it takes */
  measure: number | null;
}

/** The command line's limit on tokens of a row or a prompt, or null. */
export function longestAsked(overrides: Readonly<Record<string, unknown>>, method: Method): number | null {
  const asked = Number(overrides[method === "grpo" ? "max_prompt_length" : "max_length"]);
  return Number.isInteger(asked) && asked > 0 ? asked : null;
}

/** @param sees with its vision tower. @throws {NotFoundError} the model's shape is unknown */
export function shapeOf(recipe: { model_name_or_path?: unknown }, sees = false): PublishedShape {
  const id = String(recipe.model_name_or_path);
  const shape = sees ? seeingShape(id) : publishedShape(id);
  if (!shape) throw new NotFoundError(`Cannot forecast ${id}: Qwench does not include its shape`);
  return shape;
}

/** The forecast of a recipe at its model's true shape, and a line about its assumptions. */
export async function describeForecast<M extends Method>(
  recipe: Recipe<M>,
  method: M,
  { longest, image }: { longest: number; image: readonly [number, number] | null },
): Promise<{ forecast: MemoryForecast; text: string }> {
  const both = recipe as SftRecipe | GrpoRecipe;
  const forecast = await forecastOf(recipe, method, { shape: shapeOf(both, image !== null), longest, image });
  const what = both.use_peft ? `${both.use_dora ? "DoRA" : "LoRA"} r=${both.lora_r}` : "all weights";
  return {
    forecast,
    text: `Forecast from the shape of ${both.model_name_or_path}, without its weights: ${formatNumber(forecast.trainable)} of ${formatNumber(forecast.parameters)} parameters trained (${what}), passes of ${passText(recipe, method, longest)}${imageText(image)}`,
  };
}

const imageText = (image: readonly [number, number] | null) =>
  image ? `, an image of ${image.join(" × ")} pixels in each row` : "";

/** The table of recipes in docs/recipes.md: name, source, what each needs, memory forecast. */
export function recipesTable(): string {
  const rows = RECIPES.map(({ name, method, about, source, needs, longest, image = null, forecast }) => {
    const { recipe } = readPublished(name, method, {});
    const { model_name_or_path, dataset_name, datasets } = recipe as SftRecipe;
    const from = `[${source.replace("https://", "").replace(/\/[0-9a-f]{32}$/, "")}](${source})`;
    const takes = [
      `\`${model_name_or_path}\`, \`${dataset_name ?? datasets![0].path}\``,
      ...(needs ? [needs] : []),
    ].join("; ");
    const memory = `${forecast}: ${passText(recipe, method, longest)}${imageText(image)}`;
    return [`\`${name}\` (${method}): ${about}`, from, takes, memory];
  });
  const columns = ["recipe", "source", "needs", "memory forecast"].map((heading) => ({ heading }));
  return markdownTable(columns, rows);
}
