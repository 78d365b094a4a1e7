import { eachCompletion, type RewardFunction, textOf } from "../reward.ts";
import { extractCode } from "./extract.ts";
import type { CodeExecutor } from "./pool.ts";
import { testsOf } from "./tests.ts";

/** Rewards that run a completion's program. */
interface CodeRewards {
  /**
   * The share of tests passed by the program in a completion's last fenced Python block; 0 without a block. `testsOf`
   * reads a row's tests.
   */
  code_reward: RewardFunction;
  /** 1 if every test passes, else 0. */
  binary_code_reward: RewardFunction;
}

/**
 * Rewards by running a completion's program on the row's tests. Printed text is compared by LiveCodeBench's rules; in
 * open-r1, missing or extra lines go unpunished.
 *
 * @see code_reward and binary_code_reward in src/open_r1/rewards.py, github.com/huggingface/open-r1
 */
export function codeRewards(executor: CodeExecutor): CodeRewards {
  const code_reward: RewardFunction = (prompts, completions, columns, { signal }) => {
    const names = Object.keys(columns);
    const rows = completions.map((_, i) => ({
      prompt: prompts[i],
      ...Object.fromEntries(names.map((name) => [name, columns[name][i]])),
    }));
    const tasks = rows.map(testsOf); // all rows are read before any program runs
    const scores = completions.map(async (completion, i) => {
      const code = extractCode(textOf(completion));
      if (code === null) return 0;
      const results = await executor.run({ ...tasks[i], code }, signal);
      return results.filter(({ outcome }) => outcome === "passed").length / results.length;
    });
    return Promise.all(scores);
  };
  return {
    code_reward,
    binary_code_reward: async (...batch) => (await code_reward(...batch)).map((score) => (score === 1 ? 1 : 0)),
  };
}

/**
 * 1 for a completion that thinks, then answers with a fenced block of the row's `language` (default python), else 0:
 * `<think>\n…\n</think>\n<answer>\n…```python…```…\n</answer>` at a line's end.
 *
 * @see get_code_format_reward in src/open_r1/rewards.py; searched without the backtracking of its regular expression
 */
export const codeFormatReward: RewardFunction = eachCompletion((text, row) => {
  const language = typeof row.language === "string" ? row.language : "python";
  let at = "<think>\n".length;
  if (!text.startsWith("<think>\n")) return 0;
  for (const mark of ["\n</think>\n<answer>\n", `\`\`\`${language}`, "```"]) {
    const found = text.indexOf(mark, at);
    if (found < 0) return 0;
    at = found + mark.length;
  }
  for (let end = text.indexOf("\n</answer>", at); end >= 0; end = text.indexOf("\n</answer>", end + 1)) {
    const next = text[end + "\n</answer>".length];
    if (next === undefined || next === "\n") return 1;
  }
  return 0;
});
