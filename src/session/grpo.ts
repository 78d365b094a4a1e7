import { renderChat } from "../data/chat-template.ts";
import { encodePrompts, type PromptOptions } from "../data/prompts.ts";
import type { NumberedRow } from "../data/rows.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { DataError, FormatError, NotFoundError, RecipeError } from "../errors.ts";
import { weightDTypes } from "../model/files/load.ts";
import type { GrpoRecipe } from "../recipe/recipe.ts";
import type { NamedReward } from "../rewards/reward.ts";
import type { Trainee } from "../train/checkpoint.ts";
import { forecastGrpo, kernelsOfGrpo } from "../train/forecast/grpo.ts";
import type { GrpoPlan } from "../train/grpo/batches.ts";
import { planOf } from "../train/grpo/grpo.ts";
import type { GrpoData } from "../train/grpo/rollout.ts";
import { loadTrainee, openBase, type PreparedBase, type RunSources, storageOf } from "./open.ts";

export { type CompletionRecord, type GrpoData, type GrpoEvent, type GrpoOptions, grpo } from "../train/grpo/grpo.ts";

/** Where a GRPO run's inputs come from. Rows hold prompts; their other columns go to the rewards. */
export interface GrpoSources extends RunSources {
  train: AsyncIterable<NumberedRow> | Iterable<NumberedRow>;
  eval?: AsyncIterable<NumberedRow> | Iterable<NumberedRow> | null;
  rewards: readonly NamedReward[];
}

/** A GRPO run that is ready to load: everything was read and checked but the weights. */
export interface PreparedGrpo extends PreparedBase {
  tokenizer: Tokenizer;
  data: GrpoData;
  plan: GrpoPlan;
  /** training prompts left out because they are longer than max_prompt_length */
  dropped: number;
}

/**
 * Reads and checks everything that a GRPO run needs but the weights, and forecasts its memory. Allocates nothing on the
 * GPU.
 *
 * @throws what is wrong with the checkpoint, the adapter, the prompts or the recipe, before any time is spent
 */
export async function prepareGrpo(recipe: GrpoRecipe, sources: GrpoSources): Promise<PreparedGrpo> {
  const { gpu, signal, onProgress } = sources;
  const { rewards } = sources;
  if (rewards.length === 0) throw new RecipeError("Cannot train without a reward function: reward_funcs is empty");
  const base = await openBase(recipe, sources);
  const { config, checkpoint, trained, tokenizer } = base;
  if (!tokenizer) {
    throw new NotFoundError(
      `Cannot read prompts: ${sources.model.path} has no tokenizer.json, and rewards need the completions' text`,
    );
  }
  const chat_template = sources.chat_template ?? tokenizer.chat_template;
  const eos_token_ids = eosIds(tokenizer, chat_template, config.vocab_size, sources.model.path);
  const options: PromptOptions = {
    tokenizer,
    chat_template,
    system_prompt: recipe.system_prompt,
    max_prompt_length: recipe.max_prompt_length,
    vocab_size: config.vocab_size,
  };
  const report = (what: string) => (read: number) => onProgress?.(what, read, null);
  const train = await encodePrompts(sources.train, { ...options, signal, onProgress: report("prompts") });
  const held = sources.eval
    ? await encodePrompts(sources.eval, { ...options, signal, onProgress: report("evaluation prompts") })
    : null;
  const dropped = (count: number, what: string) =>
    count > 0
      ? [`${count} ${what} prompts left out: longer than max_prompt_length ${recipe.max_prompt_length} tokens`]
      : [];
  const notes = [...base.notes, ...dropped(train.dropped, "training"), ...dropped(held?.dropped ?? 0, "evaluation")];
  const longest = [...train.rows, ...(held?.rows ?? [])].reduce((n, row) => Math.max(n, row.prompt_ids.length), 0);
  if (longest + recipe.max_completion_length > config.max_position_embeddings) {
    throw new DataError(
      `Cannot complete a prompt of ${longest} tokens with max_completion_length ${recipe.max_completion_length}: the model has ${config.max_position_embeddings} positions (max_position_embeddings). Lower max_completion_length or max_prompt_length`,
    );
  }
  const data: GrpoData = { train: train.rows, eval: held?.rows ?? null, tokenizer, eos_token_ids, rewards };
  const plan = planOf(recipe, data);
  const input = {
    config,
    trained,
    dtypeOf: weightDTypes(gpu, config, checkpoint, storageOf(recipe)),
    optimizer: recipe,
    adapter: gpu,
  };
  const forecast = await forecastGrpo(input, recipe, plan, data);
  const kernels = () => kernelsOfGrpo(input, recipe, plan, data);
  return { ...base, tokenizer, data, plan, dropped: train.dropped, forecast, kernels, notes };
}

/** Loads the weights of a prepared run and starts or takes over its adapter. */
export function loadGrpo(
  recipe: GrpoRecipe,
  prepared: PreparedGrpo,
  sources: Pick<GrpoSources, "gpu" | "signal" | "onProgress">,
  base: string,
): Promise<Trainee> {
  return loadTrainee(recipe, prepared, sources, base);
}

/**
 * Ids that end a completion: the tokenizer's, generation_config's, and what ends the assistant's turn in the template.
 *
 * @throws {FormatError} none, or one that the model has not
 */
export function eosIds(
  tokenizer: Tokenizer,
  chat_template: string | null,
  vocab_size: number,
  where: string,
): number[] {
  const turn = chat_template === null ? [] : turnEnd(tokenizer, chat_template);
  const ids = [...new Set([...tokenizer.stop_token_ids, ...turn])];
  if (ids.length === 0) {
    throw new FormatError(
      `Cannot end completions: neither tokenizer nor generation_config.json of ${where} name an EOS`,
    );
  }
  const outside = ids.find((id) => id >= vocab_size);
  if (outside !== undefined) {
    throw new FormatError(
      `Cannot end completions at eos_token_id ${outside} of ${where}: it is outside the vocabulary of ${vocab_size}`,
    );
  }
  return ids;
}

/**
 * The special token that a chat template ends an assistant's turn with. Base models name another as their EOS, and run on
 * into the user's next turn once they have learnt to chat.
 */
function turnEnd(tokenizer: Tokenizer, template: string): number[] {
  const written = "x0x";
  const { bos_token, eos_token } = tokenizer;
  const turns = ["user", "assistant"].map((role) => ({ role, content: written }));
  let text: string;
  try {
    text = renderChat(template, turns, { bos_token, eos_token });
  } catch {
    return []; // a template that cannot render this may still render what it is asked for; if not, it says so then
  }
  const [first] = tokenizer.encode(text.slice(text.lastIndexOf(written) + written.length));
  return first !== undefined && tokenizer.decode([first], { skip_special_tokens: true }) === "" ? [first] : [];
}
