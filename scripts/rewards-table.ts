// The table of reward functions, from src/rewards/about.ts.
import { REWARD_ABOUTS } from "../src/rewards/about.ts";
import { markdownTable } from "../src/text/tables.ts";
import { headed } from "./markdown.ts";

/** Every registered reward function in Markdown. */
export function rewardsTable(): string {
  const rows = REWARD_ABOUTS.map(({ names, about, source }) => [
    names.map((name) => `\`${name}\``).join(", "),
    about,
    source,
  ]);
  return markdownTable(headed("name", "reward", "source"), rows);
}
