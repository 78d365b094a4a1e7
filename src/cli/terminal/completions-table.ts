import { rewardName } from "../../report/names.ts";
import { byPrompt, type Completion, question } from "../../report/text.ts";
import { formatNumber } from "../../text/numbers.ts";
import { cut, flat } from "../../text/show.ts";
import { renderTable } from "../../text/tables.ts";

/** Smallest useful width of a completion. */
const READABLE = 24;

/**
 * Completions for the terminal: one table per prompt, one line per completion. Each reward has a column if there is room, else
 * all share one column in the recipe's order.
 *
 * @param width columns of the terminal
 */
export function completionsTable(completions: readonly Completion[], width: number): string {
  const names = Object.keys(completions[0]?.rewards ?? {});
  const apart = names.reduce((sum, name) => sum + Math.max(6, rewardName(name).length) + 2, 0);
  const wide = READABLE + apart + "advantage".length + "tokens".length + 4 <= width;
  const headings = wide ? names.map(rewardName) : ["rewards"];
  const columns = [
    { heading: "completion" },
    ...[...headings, "advantage", "tokens"].map((heading) => ({ heading, align: "right" as const })),
  ];
  return byPrompt(completions)
    .map((group) => {
      const rows = group.map(({ completion, rewards, advantage, finish_reason, length }) => {
        const values = names.map((name) => formatNumber(rewards[name]));
        return [
          completion.trim(),
          ...(wide ? values : [values.join(" / ")]),
          formatNumber(Number(advantage.toFixed(3))),
          finish_reason === "length" ? `${length} cut` : length,
        ];
      });
      return `${clip(question(group[0].prompt), width)}\n${renderTable(columns, rows, width)}`;
    })
    .join("\n");
}

/** One line of at most `width` columns. */
function clip(text: string, width: number): string {
  return cut(flat(text).replace(/\s+/g, " "), width);
}
