import type { Pacing, RowSource } from "../data/paced-rows.ts";
import type { RowOptions } from "../data/rows.ts";
import { type TokenizedDataset, type TokenizeOptions, tokenizeDataset } from "../data/tokenize.ts";
import { DataError } from "../errors.ts";
import { changesTower } from "../model/adapters/targets.ts";
import { weightDTypes } from "../model/files/load.ts";
import type { SftRecipe } from "../recipe/recipe.ts";
import type { Trainee } from "../train/checkpoint.ts";
import { forecastSft, kernelsOfSft, type SftForecastInput, worstBatch } from "../train/forecast/sft.ts";
import { type MicroBatch, microBatch, SftBatches, StreamedSteps } from "../train/sft/batches.ts";
import { openStream, RowStream } from "../train/sft/row-stream.ts";
import type { SftData } from "../train/sft/sft.ts";
import { evalBatches } from "../train/sft/step.ts";
import { processorFiles } from "./companions.ts";
import { loadTrainee, openBase, type PreparedBase, type RowSources, readRows, storageOf } from "./open.ts";
import { seenRows } from "./tower.ts";

export { type SftEvent, type SftOptions, sft } from "../train/sft/sft.ts";

/** Where an SFT run's inputs come from. */
export type SftSources = RowSources;

/** An SFT run that is ready to load: everything except the weights has been read and checked. */
export interface PreparedSft extends PreparedBase {
  data: SftData;
  /** null: the rows are streamed */
  train: TokenizedDataset | null;
  batches: SftBatches | StreamedSteps;
}

/**
 * Reads and checks everything that an SFT run needs except the weights, and forecasts its memory. Allocates nothing on the GPU.
 *
 * @throws if the checkpoint, adapter, rows or recipe are invalid
 */
export async function prepareSft(recipe: SftRecipe, sources: SftSources): Promise<PreparedSft> {
  const { gpu } = sources;
  const base = await openBase(recipe, sources);
  const { config, checkpoint, trained, tokenizer } = base;
  const options: TokenizeOptions & RowOptions = {
    tokenizer,
    chat_template: sources.chat_template ?? null,
    chat_template_kwargs: recipe.chat_template_kwargs ?? {},
    eos_token: recipe.eos_token,
    max_length: recipe.packing && recipe.packing_strategy !== "bfd" ? null : recipe.max_length,
    truncation_mode: recipe.truncation_mode,
    completion_only_loss: recipe.completion_only_loss,
    assistant_only_loss: recipe.assistant_only_loss,
    dataset_text_field: recipe.dataset_text_field,
    system_prompt: recipe.system_prompt,
    vocab_size: config.vocab_size,
    image_token_id: config.vision?.image_token_id ?? null,
  };
  const images = sources.images ? await sources.images(checkpoint, config) : null;
  const whole = (rows: RowSource, pacing: Pacing) =>
    tokenizeDataset(seenRows(rows, images, config), { ...options, ...pacing });
  const streams = recipe.datasets ? recipe.streaming : recipe.dataset_streaming;
  const stream = streams ? await openStream(sources.train, options, recipe) : null;
  const [train, held] = await readRows(sources, ["training rows", "evaluation rows"], async (rows, pacing) =>
    stream && rows === sources.train ? null : whole(rows, pacing),
  );
  const vision = images?.largest ? { grid: images.largest } : null;
  if (!vision && base.lora && changesTower(config, base.lora)) {
    throw new DataError(
      "Cannot train layers of the vision tower: the rows have no images. Set finetune_vision_layers: false, or use an adapter of the language model only",
    );
  }
  const told = train?.warnings ?? stream!.notes;
  const warnings = [...told, ...(held?.warnings ?? []).map((warning) => `evaluation: ${warning}`)];

  const batches = train ? new SftBatches(train.rows, recipe) : new StreamedSteps(recipe);
  const dtypeOf = weightDTypes(gpu, config, checkpoint, storageOf(recipe));
  const input: SftForecastInput = {
    config,
    trained,
    dtypeOf,
    steps: batches instanceof SftBatches ? firstSteps(batches) : await streamedSteps(new RowStream(stream!), recipe),
    evaluation: held && largestBatch(evalBatches(held.rows, recipe.per_device_eval_batch_size)),
    optimizer: recipe,
    loss_type: recipe.loss_type,
    gradient_checkpointing: recipe.gradient_checkpointing,
    adapter: gpu,
    vision,
  };
  const forecast = forecastSft(input);
  const kernels = () => kernelsOfSft(input);
  const seen: SftData["images"] = vision && ((model, shown) => images!.view(model, shown));
  const data = { train: train?.rows ?? stream!, eval: held?.rows ?? null, images: seen };
  return {
    ...base,
    vision: vision !== null,
    companions: { ...base.companions, ...(vision && trained === "all" ? await processorFiles(sources.model) : {}) },
    data,
    train,
    rows: train?.rows.length ?? 0,
    batches,
    forecast,
    kernels,
    notes: [...base.notes, ...(images?.notes ?? []), ...warnings],
  };
}

/** The run's first steps, and the step with the most tokens. */
function firstSteps(batches: SftBatches): MicroBatch[][] {
  const first = [0, 1, 2].filter((step) => step < batches.max_steps);
  return [...first.map((step) => batches.step(step)), batches.largest()];
}

/** The first steps of a stream, and the largest that it may have. */
async function streamedSteps(stream: RowStream, recipe: SftRecipe): Promise<MicroBatch[][]> {
  const { per_device_train_batch_size: size, max_length, max_steps } = recipe;
  const steps: MicroBatch[][] = [];
  for (let step = 0; step < Math.min(3, max_steps); step++) steps.push([microBatch((await stream.next(size)).flat())]);
  return [...steps, worstBatch(size, max_length!)];
}

function largestBatch(batches: readonly MicroBatch[]): MicroBatch {
  return batches.reduce((most, next) => (next.batch.input_ids.length > most.batch.input_ids.length ? next : most));
}

/** Loads the weights of a prepared run and creates or loads its adapter. */
export function loadSft(
  recipe: SftRecipe,
  prepared: PreparedSft,
  sources: Pick<SftSources, "gpu" | "signal" | "onProgress">,
  base: string,
): Promise<Trainee> {
  return loadTrainee(recipe, prepared, sources, base);
}
