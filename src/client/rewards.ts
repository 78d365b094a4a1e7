import type { Turn } from "../rewards/reward.ts";
import type { ModuleExport } from "../session/reward-modules.ts";

// The user's own rewards, between a page and its worker.

/** A module of the user's reward functions: the file that the command line takes. */
export interface RewardSource {
  /** a file name that ends in .mjs or .js, without a folder */
  name: string;
  /** JavaScript */
  text: string;
}

/** Completions for a user's reward function; each list has one value per completion. */
export interface RewardInput {
  prompts: readonly Turn[];
  completions: readonly Turn[];
  columns: Readonly<Record<string, readonly unknown[]>>;
  /** tokens of each completion; null if only the text is known */
  completion_ids: readonly ArrayLike<number>[] | null;
  /** optimizer step, from 0 */
  step: number;
}

/**
 * Where a page runs the user's reward modules. Their code is not trusted: run it without network, storage and page, in a thread
 * that can be ended.
 */
export interface RewardSandbox {
  /** Evaluates a module in a thread of its own. Rejects with what it threw, or if it does not end. */
  open(module: RewardSource): Promise<{ id: number; exports: ModuleExport[] }>;
  /** Calls an export. Aborting the signal ends the thread; the next call starts another. */
  call(id: number, name: string, input: RewardInput, options: { signal: AbortSignal }): Promise<unknown>;
  /** Ends a module's thread. */
  end(id: number): Promise<void>;
}

/** Rows as reward functions get them, with the data set's own answers as completions. */
export interface RewardRows extends Omit<RewardInput, "completion_ids" | "step"> {
  /** why there are none, or null */
  problem: string | null;
}

/** A judge's key, which is sent to this address only and never stored. */
export interface JudgeAccess {
  /** the recipe's judge_url */
  url: string;
  key: string;
}

/** One completion for a judge. */
export interface JudgeQuestion {
  prompt: Turn;
  completion: Turn;
  /** the row's other columns, which the judge's prompt may name */
  columns: Readonly<Record<string, unknown>>;
}

/** What a judge says about a completion. */
export interface JudgeTrial {
  /** from 0 to 1 */
  reward: number;
  /** what it wrote */
  reply: string;
  seconds: number;
  /** tokens of question and answer that it counted */
  tokens: number;
}

export type { ModuleExport, Turn };
