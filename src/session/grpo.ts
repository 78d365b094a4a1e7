import { encodePrompts, type PromptOptions } from "../data/prompts.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { rendersTools } from "../data/tool-calls.ts";
import { DataError, NotFoundError, RecipeError, UnsupportedError } from "../errors.ts";
import { weightDTypes } from "../model/files/load.ts";
import type { GrpoRecipe } from "../recipe/recipe.ts";
import type { NamedReward } from "../rewards/reward.ts";
import type { Trainee } from "../train/checkpoint.ts";
import { forecastGrpo, kernelsOfGrpo } from "../train/forecast/grpo.ts";
import type { GrpoBatches } from "../train/grpo/batches.ts";
import { batchesOf } from "../train/grpo/grpo.ts";
import type { GrpoData } from "../train/grpo/rollout.ts";
import type { Environment } from "../train/grpo/tools.ts";
import { loadTrainee, openBase, type PreparedBase, type RowSources, readRows, storageOf } from "./open.ts";
import { eosIds } from "./tokenizer.ts";
import { refuseTower, seenRows } from "./tower.ts";

export { type CompletionRecord, type GrpoData, type GrpoEvent, type GrpoOptions, grpo } from "../train/grpo/grpo.ts";

/** Where a GRPO run's inputs come from. Rows hold prompts; reward functions receive the other columns. */
export interface GrpoSources extends RowSources {
  rewards: readonly NamedReward[];
  /** functions that the model may call */
  environment?: Environment | null;
}

/** A GRPO run that is ready to load: everything is read and checked except the weights. */
export interface PreparedGrpo extends PreparedBase {
  tokenizer: Tokenizer;
  data: GrpoData;
  batches: GrpoBatches;
  /** number of training prompts dropped because they exceed max_prompt_length */
  dropped: number;
}

/**
 * Reads and checks everything that a GRPO run needs except the weights, and forecasts its memory. Allocates nothing on the
 * GPU.
 *
 * @throws if the checkpoint, adapter, prompts or recipe are invalid
 */
export async function prepareGrpo(recipe: GrpoRecipe, sources: GrpoSources): Promise<PreparedGrpo> {
  const { gpu, rewards } = sources;
  if (rewards.length === 0) throw new RecipeError("Cannot train without a reward function: reward_funcs is empty");
  const base = await openBase(recipe, sources);
  refuseTower(base);
  const { config, checkpoint, trained, tokenizer } = base;
  if (!tokenizer) {
    throw new NotFoundError(
      `Cannot read prompts: ${sources.model.path} has no tokenizer.json, and reward functions need the completions' text`,
    );
  }
  const chat_template = sources.chat_template ?? tokenizer.chat_template;
  const eos_token_ids = eosIds(tokenizer, chat_template, config.vocab_size, sources.model.path);
  const options: PromptOptions = {
    tokenizer,
    chat_template,
    chat_template_kwargs: recipe.chat_template_kwargs ?? {},
    system_prompt: recipe.system_prompt,
    tools: sources.environment?.schemas ?? null,
    max_prompt_length: recipe.max_prompt_length,
    vocab_size: config.vocab_size,
    image_token_id: config.vision?.image_token_id ?? null,
  };
  const images = sources.images ? await sources.images(checkpoint, config) : null;
  const [train, held] = await readRows(sources, ["prompts", "evaluation prompts"], (rows, pacing) =>
    encodePrompts(seenRows(rows, images, config), { ...options, ...pacing }),
  );
  const dropped = (count: number, what: string) =>
    count > 0
      ? [`${count} ${what} prompts left out: longer than max_prompt_length ${recipe.max_prompt_length} tokens`]
      : [];
  const notes = [
    ...base.notes,
    ...(images?.notes ?? []),
    ...train.notes,
    ...(held?.notes ?? []).map((note) => `evaluation: ${note}`),
    ...dropped(train.dropped, "training"),
    ...dropped(held?.dropped ?? 0, "evaluation"),
  ];
  const longest = [...train.rows, ...(held?.rows ?? [])].reduce((n, row) => Math.max(n, row.prompt_ids.length), 0);
  if (longest + recipe.max_completion_length > config.max_position_embeddings) {
    throw new DataError(
      `Cannot complete a prompt of ${longest} tokens with max_completion_length ${recipe.max_completion_length}: the model has ${config.max_position_embeddings} positions (max_position_embeddings). Lower max_completion_length or max_prompt_length`,
    );
  }
  const tools = sources.environment ? toolsOf(sources.environment, chat_template, recipe) : null;
  const vision = images?.largest ? { grid: images.largest } : null;
  if (vision && trained === "all") {
    throw new UnsupportedError(
      "Cannot train all weights by GRPO on prompts with images: the vision tower stays frozen; set use_peft: true",
    );
  }
  const data: GrpoData = {
    train: train.rows,
    eval: held?.rows ?? null,
    tokenizer,
    eos_token_ids,
    rewards,
    tools,
    images: vision && (async (model, shown) => (await images!.seen(model, { images: shown }))!),
  };
  const batches = batchesOf(recipe, data);
  const input = {
    config,
    trained,
    dtypeOf: weightDTypes(gpu, config, checkpoint, storageOf(recipe)),
    optimizer: recipe,
    gradient_checkpointing: recipe.gradient_checkpointing,
    adapter: gpu,
    recipe,
    batches,
    data,
    continued: base.continued,
    vision,
  };
  const forecast = await forecastGrpo(input);
  const kernels = () => kernelsOfGrpo(input);
  const rows = train.rows.length;
  return {
    ...base,
    vision: vision !== null,
    tokenizer,
    data,
    rows,
    batches,
    dropped: train.dropped,
    forecast,
    kernels,
    notes,
  };
}

/** @throws {RecipeError} the chat template does not render tools */
function toolsOf(environment: Environment, template: string | null, recipe: GrpoRecipe): GrpoData["tools"] {
  if (template === null || !rendersTools(template, environment.schemas)) {
    throw new RecipeError(
      "Cannot use environment: the chat template does not render tools, their calls and results; set chat_template_path to one that does, such as Qwen2.5's",
    );
  }
  return { environment, template, chat_template_kwargs: recipe.chat_template_kwargs ?? {} };
}

/** Loads the weights of a prepared run and creates or loads its adapter. */
export function loadGrpo(
  recipe: GrpoRecipe,
  prepared: PreparedGrpo,
  sources: Pick<GrpoSources, "gpu" | "signal" | "onProgress">,
  base: string,
): Promise<Trainee> {
  return loadTrainee(recipe, prepared, sources, base);
}
