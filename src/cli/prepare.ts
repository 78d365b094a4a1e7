import { readFile } from "node:fs/promises";
import { NotFoundError, RecipeError } from "../errors.ts";
import type { Gpu } from "../gpu/device.ts";
import { type ParsedRecipe, parseRecipe, parseRecipeYaml, type SftRecipe } from "../recipe.ts";
import { type PreparedSft, prepareSft, type SftSources } from "../session.ts";
import { type ParsedArgs, UsageError } from "./args.ts";
import { hubOptions, openChatTemplate, openModelFolder, openRows } from "./sources.ts";
import { formatBytes, renderTable } from "./table.ts";

/** The recipe of a command line: a YAML file, overridden by flags. */
export async function readRecipe({ positional, overrides }: ParsedArgs): Promise<ParsedRecipe<"sft">> {
  if (positional.length > 1) throw new UsageError(`One recipe at most, got ${positional.join(", ")}`);
  const [file] = positional;
  if (file === undefined) return parseRecipe(overrides, "sft");
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    throw new NotFoundError(`Cannot read recipe ${file}: ${(error as Error).message}`);
  }
  return parseRecipeYaml(text, file, "sft", overrides);
}

/** Opens what a recipe names, and reads and checks all but the weights. */
export async function prepare(
  recipe: SftRecipe,
  gpu: Gpu,
  signal: AbortSignal,
  status: (line: string) => void,
): Promise<{ prepared: PreparedSft; sources: SftSources }> {
  const { model_name_or_path, dataset_name } = recipe;
  if (!model_name_or_path)
    throw new RecipeError("model_name_or_path is missing: a folder with config.json and safetensors, or a hub id");
  if (!dataset_name)
    throw new RecipeError("dataset_name is missing: a JSONL or Parquet file, a folder of them, or a hub data set");
  const hub = hubOptions(signal, ({ file, totalReceived, totalSize }) =>
    status(`Downloading ${file}: ${formatBytes(totalReceived)} of ${formatBytes(totalSize)}`),
  );
  const model = await openModelFolder(model_name_or_path, recipe.model_revision, hub);
  const adapter = recipe.adapter_name_or_path ? await openModelFolder(recipe.adapter_name_or_path, "main", hub) : null;
  const rows = (name: string, split: string) => openRows(name, { config: recipe.dataset_config, split }, hub);
  const train = await rows(dataset_name, recipe.dataset_train_split);
  const evaluating = recipe.eval_strategy !== "no";
  const held = evaluating ? await rows(recipe.eval_dataset_name ?? dataset_name, recipe.dataset_test_split) : null;
  const chat_template = recipe.chat_template_path ? await openChatTemplate(recipe.chat_template_path, hub) : null;
  const sources: SftSources = {
    gpu,
    model,
    adapter,
    train,
    eval: held,
    chat_template,
    signal,
    onProgress: (what, done, total) =>
      status(
        total === null ? `Reading ${what}: ${done}` : `Loading ${what}: ${formatBytes(done)} of ${formatBytes(total)}`,
      ),
  };
  return { prepared: await prepareSft(recipe, sources), sources };
}

/** The forecast as a table. */
export function forecastTable({ forecast }: PreparedSft, available: number | null): string {
  const kinds = Object.entries(forecast.byKind).filter(([, bytes]) => bytes > 0);
  const rows = kinds.sort(([, a], [, b]) => b - a).map(([kind, bytes]) => [kind, formatBytes(bytes)]);
  rows.push(
    ["peak", formatBytes(forecast.peak)],
    ["available", available === null ? "unknown" : formatBytes(available)],
  );
  return renderTable([{ heading: "memory" }, { heading: "GPU", align: "right" }], rows);
}

/** One line about what will be trained. */
export function describeRun({ forecast, train, plan, lora }: PreparedSft): string {
  const count = (n: number) => n.toLocaleString("en-US");
  const what = lora ? `LoRA r=${lora.r} on ${lora.target_modules.join(", ")}` : "all weights";
  return `${count(forecast.trainable)} of ${count(forecast.parameters)} parameters (${what}); ${count(train.rows.length)} rows, ${count(train.num_tokens)} tokens, ${count(train.num_labels)} labelled; ${count(plan.max_steps)} steps`;
}
