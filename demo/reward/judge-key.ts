import type { Job, JudgeAccess } from "../../src/client/types.ts";

/** The recipe's default judge_url. */
export const DEFAULT_JUDGE = "https://api.openai.com/v1";

/** Keys by address, until the tab closes. Never stored. */
const keys = new Map<string, string>();

export function setJudgeKey(url: string, key: string): void {
  if (key === "") keys.delete(url);
  else keys.set(url, key);
}

export function judgeKey(url: string): string {
  return keys.get(url) ?? "";
}

/** The address of a job's judge; null if no phase has one. */
export function judgeUrl(job: Job): string | null {
  const judged = job.phases.find(({ recipe }) => (recipe.reward_funcs as string[] | undefined)?.includes("judge"));
  return judged ? String(judged.recipe.judge_url ?? DEFAULT_JUDGE) : null;
}

/** The key for a job's judge, as the trainer takes it; null if there is none. */
export function judgeAccess(job: Job): JudgeAccess | null {
  const url = judgeUrl(job);
  const key = url === null ? undefined : keys.get(url);
  return url !== null && key !== undefined ? { url, key } : null;
}
