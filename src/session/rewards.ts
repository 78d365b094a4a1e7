import { NotFoundError, RecipeError } from "../errors.ts";
import { nearestName } from "../recipe/recipe.ts";
import type { CodeLimits, CodePool } from "../rewards/code/pool.ts";
import { type Judge, type JudgeCache, type JudgeParameters, judgeOptions, openJudge } from "../rewards/judge/judge.ts";
import { REWARDS, type RewardHost, type RewardParameters, rewardNamed } from "../rewards/registry.ts";
import type { NamedReward } from "../rewards/reward.ts";

/** Columns that completions have beside those of the rewards, whose names a reward function may not have. */
const COMPLETION_COLUMNS: readonly string[] = ["step", "prompt", "completion", "advantage", "finish_reason", "length"];

/** What a command line or a page brings to rewards. */
export interface RewardPlatform {
  /** threads that run Python */
  openCodePool(limits: Partial<CodeLimits>): CodePool;
  /** what a judge is asked with; absent: none can be asked here */
  judge?: {
    key: string | null;
    fetch: typeof fetch;
    /** wait before a judge is asked a second time */
    backoff_ms: number;
    /** @param path `judge_cache` */
    openCache(path: string): JudgeCache;
  };
  /** reward functions of the user's own modules; absent: a recipe can only name registered ones */
  modules?: RewardModules;
}

/** Modules of a user's own, by their paths. */
export interface RewardModules {
  /** @returns the function that an entry means, under the name of its metrics; null where an entry is no module's path */
  open(entry: string): Promise<NamedReward | null>;
  /** what the user should know about how they run */
  notes(): string[];
  end(): Promise<void>;
}

/** The reward functions of a recipe, opened. */
export interface OpenedRewards {
  rewards: NamedReward[];
  /** what the user should know about how they run */
  notes: string[];
  /** what there is to say at a run's end: what a judge was asked, and cost */
  summary(): string[];
  /** ends their threads */
  close(): Promise<void>;
}

/**
 * Opens the functions of `reward_funcs`, one per entry, so that `reward_weights` may have one per entry too.
 *
 * @param parameters what the recipe says about registered functions
 * @throws {NotFoundError} an unknown name, with the nearest
 * @throws {RecipeError} two functions of one name; a name that completions have a column for
 * @throws what is wrong with a module
 */
export async function openRewards(
  entries: readonly string[],
  parameters: Partial<RewardParameters>,
  platform: RewardPlatform,
): Promise<OpenedRewards> {
  const host = new PlatformHost(platform);
  const close = async () => {
    await platform.modules?.end();
    await host.end();
  };
  try {
    const rewards = await openAll(entries, parameters, platform, host);
    return { rewards, notes: platform.modules?.notes() ?? [], summary: () => host.summary(), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function openAll(
  entries: readonly string[],
  parameters: Partial<RewardParameters>,
  { modules }: RewardPlatform,
  host: RewardHost,
): Promise<NamedReward[]> {
  const rewards: NamedReward[] = [];
  const from = new Map<string, string>();
  for (const entry of entries) {
    const own = await modules?.open(entry);
    const named = own ?? registered(entry, parameters, host, modules !== undefined);
    const other = from.get(named.name);
    if (other !== undefined) {
      throw new RecipeError(
        `reward_funcs ${other} and ${entry} are both called ${named.name}: their metrics would mix; export them by other names`,
      );
    }
    if (COMPLETION_COLUMNS.includes(named.name)) {
      throw new RecipeError(
        `reward_funcs ${entry} is called ${named.name}, as a column of the completions is; give it another name`,
      );
    }
    from.set(named.name, entry);
    rewards.push(named);
  }
  return rewards;
}

function registered(
  name: string,
  parameters: Partial<RewardParameters>,
  host: RewardHost,
  modules: boolean,
): NamedReward {
  if (Object.hasOwn(REWARDS, name)) return rewardNamed(name, parameters, host);
  const names = Object.keys(REWARDS);
  if (modules && /[\\/]/.test(name)) {
    throw new NotFoundError(`Cannot load reward_funcs ${name}: a module's name ends in .js, .mjs, .cjs or .ts`);
  }
  const near = nearestName(name, names);
  const more = modules ? ", and modules by their path, such as ./my-rewards.js" : "";
  throw new NotFoundError(
    `There is no reward function ${name}${near ? `: did you mean ${near}?` : "."} There are ${names.join(", ")}${more}`,
  );
}

/** Threads and judges of one run's rewards, opened when the first function asks for them. */
class PlatformHost implements RewardHost {
  readonly judge?: (parameters: JudgeParameters) => Judge;
  readonly #platform: RewardPlatform;
  readonly #judges: Judge[] = [];
  #pool: CodePool | null = null;

  constructor(platform: RewardPlatform) {
    this.#platform = platform;
    if (platform.judge) this.judge = (parameters) => this.#openJudge(parameters);
  }

  code(limits: Partial<CodeLimits>): CodePool {
    return (this.#pool ??= this.#platform.openCodePool(limits)); // one recipe, so the same limits
  }

  #openJudge(parameters: JudgeParameters): Judge {
    const { judge_cache } = parameters;
    const { openCache, ...known } = this.#platform.judge!;
    const cache = judge_cache === null ? null : openCache(judge_cache);
    const judge = openJudge(judgeOptions(parameters, { ...known, cache }));
    this.#judges.push(judge);
    return judge;
  }

  /** A line a judge that was asked. */
  summary(): string[] {
    return this.#judges.flatMap((judge) => {
      const { asked, cached, retries, prompt_tokens, completion_tokens, cost, unscored } = judge.usage();
      if (asked + cached + unscored === 0) return [];
      const parts = [
        `${asked} replies`,
        `${cached} from the cache`,
        `${retries} requests repeated`,
        `${prompt_tokens} prompt and ${completion_tokens} reply tokens`,
        ...(cost > 0 ? [`${cost.toFixed(4)} USD`] : []),
        ...(unscored > 0 ? [`${unscored} completions left without a score`] : []),
      ];
      return [`judge: ${parts.join(", ")}`];
    });
  }

  async end(): Promise<void> {
    await this.#pool?.end();
  }
}
