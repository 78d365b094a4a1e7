import { NotFoundError, RecipeError } from "../errors.ts";
import { nearestName } from "../recipe/recipe.ts";
import type { CodeLimits, CodePool } from "../rewards/code/pool.ts";
import type { EndpointNames } from "../rewards/judge/endpoint.ts";
import { type Judge, type JudgeCache, type JudgeParameters, judgeOptions, openJudge } from "../rewards/judge/judge.ts";
import { REWARDS, type RewardHost, type RewardParameters, rewardNamed } from "../rewards/registry.ts";
import type { NamedReward } from "../rewards/reward.ts";

/** Columns of the completions table. A reward function may not have one of these names. */
const COMPLETION_COLUMNS: readonly string[] = ["step", "prompt", "completion", "advantage", "finish_reason", "length"];

/** How to reach a judge. */
export interface JudgePlatform {
  key: string | null;
  fetch: typeof fetch;
  /** wait before retrying a judge */
  backoff_ms: number;
  /** how messages name its address and key; default: the recipe's field and the environment variable */
  names?: EndpointNames;
  /** @param path `judge_cache` */
  openCache(path: string): JudgeCache;
}

/** What a command line or a page provides for rewards. */
export interface RewardPlatform {
  /** threads that run Python */
  openCodePool(limits: Partial<CodeLimits>): CodePool;
  /** absent: judges are unavailable here */
  judge?: JudgePlatform;
  /** loads reward functions from the user's modules; absent: a recipe can only name registered functions */
  modules?: RewardModules;
}

/** The user's own modules, by path. */
export interface RewardModules {
  /** @returns the function of an entry, with the name for its metrics; null if the entry is not a module's path */
  open(entry: string): Promise<NamedReward | null>;
  /** notes for the user about how they run */
  notes(): string[];
  end(): Promise<void>;
}

/** The reward functions of a recipe, opened. */
export interface OpenedRewards {
  rewards: NamedReward[];
  /** notes for the user about how they run */
  notes: string[];
  /** notes for the end of a run: a judge's requests and tokens */
  summary(): string[];
  /** ends the functions' threads */
  close(): Promise<void>;
}

/**
 * Opens the functions of `reward_funcs`, one per entry, so that `reward_weights` may have one per entry too.
 *
 * @param parameters the recipe's settings for registered functions
 * @throws {NotFoundError} an unknown name; the message suggests the nearest
 * @throws {RecipeError} two functions have the same name; a name is also a column of the completions
 * @throws if a module is invalid
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
        `reward_funcs ${entry} is called ${named.name}, which is also a column of the completions; give it another name`,
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
  const more = modules ? ", and a module is named by its path, such as ./my-rewards.js" : "";
  throw new NotFoundError(
    `There is no reward function ${name}${near ? `: did you mean ${near}?` : "."} There are ${names.join(", ")}${more}`,
  );
}

/** Threads and judges for one run's rewards, opened on first use. */
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
    return (this.#pool ??= this.#platform.openCodePool(limits)); // functions of one recipe share its limits
  }

  #openJudge(parameters: JudgeParameters): Judge {
    const { judge_cache } = parameters;
    const { openCache, ...known } = this.#platform.judge!;
    const cache = judge_cache === null ? null : openCache(judge_cache);
    const judge = openJudge(judgeOptions(parameters, { ...known, cache }));
    this.#judges.push(judge);
    return judge;
  }

  /** One line per judge that received requests. */
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
