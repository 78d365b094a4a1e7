import type { JudgeQuestion, JudgeTrial } from "../../src/client/types.ts";
import { type GrpoRecipe, parseRecipe } from "../../src/recipe/recipe.ts";
import { judgeOptions, openJudge } from "../../src/rewards/judge/judge.ts";
import type { JudgePlatform } from "../../src/session/rewards.ts";

/** Most seconds that a trial waits for an answer. */
const MOST_SECONDS = 60;

/**
 * Asks a judge about one completion, as a run would, but without retries.
 *
 * @param fields the recipe's fields about its judge
 * @throws {RecipeError} a field is invalid, or judge_model is missing
 * @throws {NetworkError} the judge cannot be reached, or refuses
 * @throws {TrainingError} its replies have no score
 * @throws {DataError} the prompt names a column that the row lacks
 */
export async function tryJudge(
  fields: Record<string, unknown>,
  { prompt, completion, columns }: JudgeQuestion,
  { key, fetch, names, backoff_ms }: JudgePlatform,
): Promise<JudgeTrial> {
  const recipe = parseRecipe({ ...fields, reward_funcs: ["judge"] }, "grpo").recipe as GrpoRecipe;
  let reply = "";
  const cache = { get: async () => null, put: async (_: string, { text }: { text: string }) => void (reply = text) };
  const options = judgeOptions(recipe, { key, fetch, names, backoff_ms, cache });
  const timeout_ms = Math.min(options.timeout_ms, 1000 * MOST_SECONDS);
  const judge = openJudge({ ...options, timeout_ms, attempts: 1, on_error: "stop" });
  const lists = Object.fromEntries(Object.entries(columns).map(([name, value]) => [name, [value]]));
  const began = performance.now();
  const { signal } = new AbortController();
  const [reward] = await judge.reward([prompt], [completion], lists, { signal, step: 0, completion_ids: null });
  const { prompt_tokens, completion_tokens } = judge.usage();
  const seconds = (performance.now() - began) / 1000;
  return { reward: reward!, reply, seconds, tokens: prompt_tokens + completion_tokens };
}
