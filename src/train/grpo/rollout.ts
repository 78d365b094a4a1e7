import type { PromptRow } from "../../data/prompts.ts";
import { StopStrings } from "../../data/stop-strings.ts";
import type { Tokenizer } from "../../data/tokenizer.ts";
import { cacheBytes } from "../../model/architectures/tensors.ts";
import { type Generation, generate, type SamplingOptions } from "../../model/generate/generate.ts";
import type { Transformer } from "../../model/transformer.ts";
import type { NamedReward, Turn } from "../../rewards/reward.ts";
import { runRewards } from "../../rewards/run.ts";
import { type Aggregation, groupAdvantages, type ScaleRewards } from "./advantages.ts";

/** The prompts and reward functions of GRPO. */
export interface GrpoData {
  train: readonly PromptRow[];
  eval: readonly PromptRow[] | null;
  tokenizer: Tokenizer;
  /** ids that end a completion */
  eos_token_ids: readonly number[];
  rewards: readonly NamedReward[];
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
}

/** Fields of a recipe that decide how completions are drawn and scored, by TRL's names. */
interface RolloutOptions extends Omit<SamplingOptions, "min_p"> {
  min_p: number | null;
  max_completion_length: number;
  /** texts that end a completion */
  stop_strings: readonly string[] | null;
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

/** Sequences decoded together, given the longest. The number does not affect the drawn tokens. */
export function slotsFor({ config }: Pick<Transformer, "config">, count: number, length: number): number {
  const { total: bytes } = cacheBytes(config, length);
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
  const generations = await draw(model, groups, data, options, request);
  const texts = generations.map(({ ids }) => data.tokenizer.decode(ids, { skip_special_tokens: true }));
  const completions = groups.map(
    ({ prompt }, i): Turn => (typeof prompt === "string" ? texts[i] : [{ role: "assistant", content: texts[i] }]),
  );
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
  const records = groups.map(({ text }, i) => ({
    step: step + 1,
    prompt: text,
    completion: texts[i],
    rewards: Object.fromEntries(scored.names.map((name, k) => [name, scored.rewards[k][i]])),
    advantage: advantages[i],
    finish_reason: generations[i].finish_reason,
    length: generations[i].ids.length,
  }));
  return {
    generations,
    records,
    advantages,
    metrics: { ...lengthMetrics(generations), ...metrics },
    unscored: scored.unscored.length,
  };
}

function draw(
  model: Transformer,
  groups: readonly PromptRow[],
  { eos_token_ids, tokenizer }: Pick<GrpoData, "eos_token_ids" | "tokenizer">,
  options: RolloutOptions,
  { seed, sequence, signal, onProgress }: RolloutRequest,
): Promise<Generation[]> {
  const { temperature, top_k, top_p, min_p, repetition_penalty, max_completion_length } = options;
  const longest = Math.max(...groups.map(({ prompt_ids }) => prompt_ids.length)) + max_completion_length;
  let ended = 0;
  const lengths = new Uint32Array(groups.length);
  const strings = options.stop_strings && new StopStrings(tokenizer, options.stop_strings);
  const watches = strings && groups.map(({ prompt_ids }) => strings.watch(prompt_ids));
  return generate(
    model,
    groups.map(({ prompt_ids }, i) => ({ prompt_ids, sequence: sequence + i })),
    {
      temperature,
      top_k,
      top_p,
      min_p: min_p ?? 0,
      repetition_penalty,
      max_new_tokens: max_completion_length,
      eos_token_ids,
      seed,
      slots: slotsFor(model, groups.length, longest),
      signal,
      stop: watches ? (ids, i) => watches[i].check(ids) : undefined,
      onTokens: (ids, i) => {
        lengths[i] += ids.length;
        const last = eos_token_ids.includes(ids[ids.length - 1]) || watches?.[i].length === lengths[i];
        if (last || lengths[i] >= max_completion_length) onProgress?.(++ended, groups.length);
      },
    },
  );
}

/** Every row's columns as lists, one value per completion; null if a row lacks the column. */
function columnsOf(groups: readonly PromptRow[]): Record<string, unknown[]> {
  const names = new Set(groups.flatMap(({ columns }) => Object.keys(columns)));
  return Object.fromEntries([...names].map((name) => [name, groups.map(({ columns }) => columns[name] ?? null)]));
}

function lengthMetrics(generations: readonly Generation[]): Record<string, number> {
  const lengths = generations.map(({ ids }) => ids.length);
  const terminated = generations.filter(({ finish_reason }) => finish_reason === "stop").map(({ ids }) => ids.length);
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
