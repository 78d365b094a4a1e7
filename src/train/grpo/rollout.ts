import type { PromptRow } from "../../data/prompts.ts";
import type { RowImage } from "../../data/row-error.ts";
import { StopStrings } from "../../data/stop-strings.ts";
import type { Tokenizer } from "../../data/tokenizer.ts";
import type { ActivationStorage } from "../../gpu/context.ts";
import { cacheBytes } from "../../model/architectures/tensors.ts";
import {
  type Generation,
  type GenerationRequest,
  generate,
  type SamplingOptions,
} from "../../model/generate/generate.ts";
import type { Transformer } from "../../model/transformer.ts";
import type { SeenImages } from "../../model/vision/images.ts";
import type { NamedReward, Turn } from "../../rewards/reward.ts";
import { runRewards } from "../../rewards/run.ts";
import { type Aggregation, groupAdvantages, type ScaleRewards } from "./advantages.ts";
import { type Environment, runTools } from "./tools.ts";

/** The prompts and reward functions of GRPO. */
export interface GrpoData {
  train: readonly PromptRow[];
  eval: readonly PromptRow[] | null;
  tokenizer: Tokenizer;
  /** ids that end a completion */
  eos_token_ids: readonly number[];
  rewards: readonly NamedReward[];
  /** what the model sees of prompts' images; null or absent: they have none */
  images?: ((model: Transformer, images: readonly RowImage[]) => Promise<SeenImages>) | null;
  /** functions that the model may call, with the template that renders their results; absent: none */
  tools?: {
    environment: Environment;
    template: string;
    chat_template_kwargs: Readonly<Record<string, unknown>>;
  } | null;
}

/** One completion as text: a row of the completions table. */
export interface CompletionRecord {
  /** first optimizer step, from 1, that trains on the completion */
  step: number;
  /** as the model saw it */
  prompt: string;
  /** without special tokens */
  completion: string;
  /** by reward function; null if it does not apply */
  rewards: Record<string, number | null>;
  advantage: number;
  finish_reason: Generation["finish_reason"];
  /** tokens, EOS included */
  length: number;
  /** the row's other columns, as reward functions get them */
  columns: Readonly<Record<string, unknown>>;
  /** keys of the prompt's images; absent: none */
  images?: string[];
}

/** Fields of a recipe that decide how completions are drawn and scored, by TRL's names. */
interface RolloutOptions extends Omit<SamplingOptions, "min_p"> {
  min_p: number | null;
  max_completion_length: number;
  /** texts that end a completion */
  stop_strings: readonly string[] | null;
  /** null: no limit */
  max_tool_calling_iterations: number | null;
  scale_rewards: ScaleRewards;
  multi_objective_aggregation: Aggregation;
  reward_weights: readonly number[] | null;
  /** seconds; null: no limit */
  reward_timeout: number | null;
}

/** The completions to draw. */
interface RolloutRequest {
  rows: readonly PromptRow[];
  num_generations: number;
  /** seed of the draws */
  seed: number;
  /** number of the first completion: together with the seed, it determines every draw */
  sequence: number;
  /** optimizer step, from 0, for the rewards' context */
  step: number;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** Scored completions of some prompts, group by group. */
interface Rollout {
  generations: Generation[];
  /** [completion] of each, 0 for results of tools; null: no tools */
  tool_masks: Uint8Array[] | null;
  records: CompletionRecord[];
  advantages: Float32Array;
  /** TRL's metrics of rewards and completion lengths */
  metrics: Record<string, number>;
  /** completions that no reward function scored */
  unscored: number;
}

/** GPU memory for the cache of sequences decoded together; a single sequence may exceed it. */
const CACHE_BYTES = 256 << 20;
const MOST_SLOTS = 64;

/**
 * Sequences decoded together, given the longest. The number does not affect the drawn tokens.
 *
 * @param stored how keys and values are stored
 */
export function slotsFor(
  { config }: Pick<Transformer, "config">,
  count: number,
  length: number,
  stored: ActivationStorage = "f32",
): number {
  const { total: bytes } = cacheBytes(config, length, stored);
  return Math.max(1, Math.min(count, MOST_SLOTS, Math.floor(CACHE_BYTES / bytes)));
}

/**
 * Draws `num_generations` completions of each prompt and scores them.
 *
 * @throws {TrainingError} a reward function that fails; the message names the row
 */
export async function rollOut(
  model: Transformer,
  data: GrpoData,
  options: RolloutOptions,
  request: RolloutRequest,
): Promise<Rollout> {
  const { rows, num_generations, step, signal } = request;
  const groups = rows.flatMap((row) => Array.from({ length: num_generations }, () => row));
  const seen = await seenBy(model, rows, data);
  const requests = groups.map(({ prompt_ids }, i) => {
    return { prompt_ids, sequence: request.sequence + i, images: seen[Math.floor(i / num_generations)] };
  });
  const first = await draw(model, requests, data, options, request);
  const used = data.tools
    ? await runTools(requests, first, {
        ...data.tools,
        tokenizer: data.tokenizer,
        max_completion_length: options.max_completion_length,
        max_tool_calling_iterations: options.max_tool_calling_iterations,
        timeout: options.reward_timeout,
        draw: (next) => draw(model, next, data, options, request),
      })
    : null;
  const generations = used ? used.runs.map(({ generation }) => generation) : first;
  const texts = generations.map(({ ids }) => data.tokenizer.decode(ids, { skip_special_tokens: true }));
  const completions = groups.map(({ prompt }, i): Turn => {
    if (used && typeof prompt !== "string") return used.runs[i].messages as Turn;
    return typeof prompt === "string" ? texts[i] : [{ role: "assistant", content: texts[i] }];
  });
  const scored = await runRewards(
    data.rewards,
    options.reward_weights,
    {
      prompts: groups.map(({ prompt }) => prompt as Turn),
      completions,
      columns: columnsOf(groups),
      completion_ids: generations.map(({ ids }) => ids),
      step,
    },
    { timeout_ms: options.reward_timeout === null ? null : 1000 * options.reward_timeout, signal },
  );
  const { scale_rewards, multi_objective_aggregation } = options;
  const how = { num_generations, scale_rewards, multi_objective_aggregation };
  const { advantages, metrics } = groupAdvantages(scored, how);
  const records = groups.map(({ text, columns, row_images }, i) => ({
    step: step + 1,
    prompt: text,
    completion: texts[i],
    rewards: Object.fromEntries(scored.names.map((name, k) => [name, scored.rewards[k][i]])),
    advantage: advantages[i],
    finish_reason: generations[i].finish_reason,
    length: generations[i].ids.length,
    columns,
    ...(row_images && { images: row_images.map(({ key }) => key) }),
  }));
  const tool_masks = used?.runs.map(({ tool_mask }) => tool_mask);
  const lengths = generations.map(({ ids }, i) => (tool_masks ? tool_masks[i].reduce((a, b) => a + b, 0) : ids.length));
  return {
    generations,
    tool_masks: tool_masks ?? null,
    records,
    advantages,
    metrics: { ...lengthMetrics(generations, lengths), ...(used && toolMetrics(used)), ...metrics },
    unscored: scored.unscored.length,
  };
}

/** What the model sees of each row's images; null: it has none. */
export async function seenBy(
  model: Transformer,
  rows: readonly PromptRow[],
  { images: source }: Pick<GrpoData, "images">,
): Promise<(SeenImages | null)[]> {
  const seen: (SeenImages | null)[] = [];
  for (const { row_images: images } of rows) seen.push(images && source ? await source(model, images) : null);
  return seen;
}

function draw(
  model: Transformer,
  requests: readonly GenerationRequest[],
  { eos_token_ids, tokenizer }: Pick<GrpoData, "eos_token_ids" | "tokenizer">,
  options: RolloutOptions,
  { seed, signal, onProgress }: RolloutRequest,
): Promise<Generation[]> {
  const { temperature, top_k, top_p, min_p, repetition_penalty, max_completion_length } = options;
  const limit = (request: GenerationRequest) => request.max_new_tokens ?? max_completion_length;
  const longest = Math.max(...requests.map((request) => request.prompt_ids.length + limit(request)));
  let ended = 0;
  const lengths = new Uint32Array(requests.length);
  const strings = options.stop_strings && new StopStrings(tokenizer, options.stop_strings);
  const watches = strings && requests.map(({ prompt_ids }) => strings.watch(prompt_ids));
  return generate(model, requests, {
    temperature,
    top_k,
    top_p,
    min_p: min_p ?? 0,
    repetition_penalty,
    max_new_tokens: max_completion_length,
    eos_token_ids,
    seed,
    slots: slotsFor(model, requests.length, longest, model.gpu.activations),
    signal,
    stop: watches ? (ids, i) => watches[i].check(ids) : undefined,
    onTokens: (ids, i) => {
      lengths[i] += ids.length;
      const last = eos_token_ids.includes(ids[ids.length - 1]) || watches?.[i].length === lengths[i];
      if (last || lengths[i] >= limit(requests[i])) onProgress?.(++ended, requests.length);
    },
  });
}

/** Every row's columns as lists, one value per completion; null if a row lacks the column. */
function columnsOf(groups: readonly PromptRow[]): Record<string, unknown[]> {
  const names = new Set(groups.flatMap(({ columns }) => Object.keys(columns)));
  return Object.fromEntries([...names].map((name) => [name, groups.map(({ columns }) => columns[name] ?? null)]));
}

/** TRL's metrics of tools. */
function toolMetrics({ runs, calls, failures }: Awaited<ReturnType<typeof runTools>>): Record<string, number> {
  return {
    "tools/call_frequency": calls / runs.length,
    "tools/failure_frequency": calls > 0 ? failures / calls : 0,
  };
}

/** @param lengths tokens of the model in each completion */
function lengthMetrics(generations: readonly Generation[], lengths: readonly number[]): Record<string, number> {
  const terminated = lengths.filter((_, i) => generations[i].finish_reason === "stop");
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / Math.max(1, values.length);
  const least = (values: readonly number[]) => (values.length > 0 ? Math.min(...values) : 0);
  const most = (values: readonly number[]) => Math.max(0, ...values);
  return {
    "completions/mean_length": mean(lengths),
    "completions/min_length": least(lengths),
    "completions/max_length": most(lengths),
    "completions/clipped_ratio": 1 - terminated.length / lengths.length,
    "completions/mean_terminated_length": mean(terminated),
    "completions/min_terminated_length": least(terminated),
    "completions/max_terminated_length": most(terminated),
  };
}
