import { type PreferenceDataset, type PreferenceOptions, tokenizePreferences } from "../data/preferences.ts";
import { UnsupportedError } from "../errors.ts";
import { weightDTypes } from "../model/files/load.ts";
import type { DpoRecipe } from "../recipe/recipe.ts";
import type { Trainee } from "../train/checkpoint.ts";
import { DpoBatches, tokensOf } from "../train/dpo/batches.ts";
import type { DpoData } from "../train/dpo/dpo.ts";
import { type DpoForecastInput, forecastDpo, kernelsOfDpo } from "../train/forecast/dpo.ts";
import { loadTrainee, openBase, type PreparedBase, type RowSources, readRows, storageOf } from "./open.ts";
import { refuseTower, seenRows } from "./tower.ts";

export { type DpoData, type DpoEvent, type DpoOptions, dpo } from "../train/dpo/dpo.ts";

/** Where a DPO run's inputs come from. Rows hold prompt, chosen and rejected. */
export type DpoSources = RowSources;

/** A DPO run that is ready to load: everything except the weights has been read and checked. */
export interface PreparedDpo extends PreparedBase {
  data: DpoData;
  train: PreferenceDataset;
  batches: DpoBatches;
}

/**
 * Reads and checks everything that a DPO run needs except the weights, and forecasts its memory. Allocates nothing on the GPU.
 *
 * @throws if the checkpoint, adapter, rows or recipe are invalid
 */
export async function prepareDpo(recipe: DpoRecipe, sources: DpoSources): Promise<PreparedDpo> {
  const { gpu } = sources;
  const base = await openBase(recipe, sources);
  refuseTower(base);
  const { config, checkpoint, trained, tokenizer } = base;
  const options: PreferenceOptions = {
    tokenizer,
    chat_template: sources.chat_template ?? null,
    chat_template_kwargs: recipe.chat_template_kwargs ?? {},
    system_prompt: recipe.system_prompt,
    max_length: recipe.max_length,
    truncation_mode: recipe.truncation_mode,
    vocab_size: config.vocab_size,
    image_token_id: config.vision?.image_token_id ?? null,
  };
  const images = sources.images ? await sources.images(checkpoint, config) : null;
  const [train, held] = await readRows(sources, ["training rows", "evaluation rows"], (rows, pacing) =>
    tokenizePreferences(seenRows(rows, images, config), { ...options, ...pacing }),
  );
  const warnings = [...train.warnings, ...(held?.warnings ?? []).map((warning) => `evaluation: ${warning}`)];

  const batches = new DpoBatches(train.rows, recipe);
  const vision = images?.largest ? { grid: images.largest } : null;
  if (vision && trained === "all") {
    throw new UnsupportedError(
      "Cannot train all weights by DPO on rows with images: the vision tower stays frozen; set use_peft: true",
    );
  }
  const data: DpoData = {
    train: train.rows,
    eval: held?.rows ?? null,
    continued: base.continued,
    images: vision && (async (model, shown) => (await images!.seen(model, { images: shown }))!),
  };
  const input: DpoForecastInput = {
    config,
    trained,
    dtypeOf: weightDTypes(gpu, config, checkpoint, storageOf(recipe)),
    optimizer: recipe,
    gradient_checkpointing: recipe.gradient_checkpointing,
    adapter: gpu,
    recipe,
    steps: [0, 1, 2]
      .filter((step) => step < batches.max_steps)
      .concat(batches.largest())
      .map((step) => batches.step(step).map((rows) => rows.map((row) => train.rows[row]))),
    evaluation: held && largestPart(held.rows, recipe.per_device_eval_batch_size),
    continued: data.continued,
    vision,
  };
  return {
    ...base,
    vision: vision !== null,
    data,
    train,
    rows: train.rows.length,
    batches,
    forecast: forecastDpo(input),
    kernels: () => kernelsOfDpo(input),
    notes: [...base.notes, ...warnings],
  };
}

/** The batch with the most tokens, among batches of `size` pairs. */
function largestPart(pairs: DpoData["train"], size: number): DpoData["train"] {
  const parts = Array.from({ length: Math.ceil(pairs.length / size) }, (_, i) => pairs.slice(i * size, (i + 1) * size));
  const tokens = parts.map((part) => part.reduce((sum, pair) => sum + tokensOf(pair), 0));
  return parts[tokens.indexOf(Math.max(...tokens))];
}

/** Loads the weights of a prepared run and creates or loads its adapter. */
export function loadDpo(
  recipe: DpoRecipe,
  prepared: PreparedDpo,
  sources: Pick<DpoSources, "gpu" | "signal" | "onProgress">,
  base: string,
): Promise<Trainee> {
  return loadTrainee(recipe, prepared, sources, base);
}
