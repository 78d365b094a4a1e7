import type { RewardRows } from "../../src/client/types.ts";
import { type NumberedRow, parsePrompt, parseRow } from "../../src/data/rows.ts";
import { QwenchError } from "../../src/errors.ts";
import type { Turn } from "../../src/rewards/reward.ts";

/**
 * The first rows as GRPO's reward functions get them. The completions are the rows' own answers, or empty.
 *
 * @param recipe its system_prompt begins each conversation
 */
export async function rewardRows(
  rows: AsyncIterable<NumberedRow>,
  recipe: Record<string, unknown>,
  count: number,
): Promise<RewardRows> {
  const prompts: Turn[] = [];
  const completions: Turn[] = [];
  const others: Record<string, unknown>[] = [];
  const system_prompt = typeof recipe.system_prompt === "string" ? recipe.system_prompt : null;
  let problem: string | null = null;
  try {
    for await (const source of rows) {
      const { prompt } = parsePrompt(source, { system_prompt });
      const { prompt: _, ...columns } = source.row;
      const answer = answerOf(source);
      prompts.push(prompt as Turn);
      completions.push(typeof prompt === "string" ? answer : [{ role: "assistant", content: answer }]);
      others.push(columns);
      if (prompts.length >= count) break;
    }
    if (prompts.length === 0) problem = "The data set has no rows";
  } catch (error) {
    if (!(error instanceof QwenchError)) throw error;
    problem = error.message;
  }
  const names = [...new Set(others.flatMap((row) => Object.keys(row)))];
  const columns = Object.fromEntries(names.map((name) => [name, others.map((row) => row[name] ?? null)]));
  return { prompts, completions, columns, problem };
}

/** The text that a row would teach, or nothing. */
function answerOf(source: NumberedRow): string {
  try {
    const row = parseRow(source);
    if (row.format === "plain") return row.completion;
    const turns = row.format === "chat" ? row.completion : row.format === "messages" ? row.messages : [];
    const { content } = turns.at(-1) ?? {};
    return typeof content === "string" ? content : "";
  } catch {
    return ""; // a prompt without an answer
  }
}
