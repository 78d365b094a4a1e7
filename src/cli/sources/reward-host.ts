import type { CodeLimits, CodePool } from "../../rewards/code/pool.ts";
import { JUDGE_KEY } from "../../rewards/judge/endpoint.ts";
import { type Judge, type JudgeParameters, judgeOptions, openJudge } from "../../rewards/judge/judge.ts";
import type { RewardHost } from "../../rewards/registry.ts";
import { openCodePool } from "./code.ts";
import { openJudgeCache } from "./judge-cache.ts";

/** Wait before a judge is asked a second time. */
const BACKOFF_MS = 1000;

/** What this process brings to rewards: threads that run Python, requests to a judge, its key and its cache. */
export class CliRewardHost implements RewardHost {
  #pool: CodePool | null = null;
  readonly #judges: Judge[] = [];

  code(limits: Partial<CodeLimits>): CodePool {
    return (this.#pool ??= openCodePool(limits)); // one recipe, so the same limits
  }

  judge(parameters: JudgeParameters): Judge {
    const { judge_cache } = parameters;
    const judge = openJudge(
      judgeOptions(parameters, {
        key: process.env[JUDGE_KEY]?.trim() || null,
        fetch,
        backoff_ms: BACKOFF_MS,
        cache: judge_cache === null ? null : openJudgeCache(judge_cache),
      }),
    );
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
