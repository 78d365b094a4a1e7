import { count } from "./answers.ts";
import { eachCompletion, type RewardFunction } from "./reward.ts";

// Format rewards of open-r1 (https://github.com/huggingface/open-r1, src/open_r1/rewards.py) and TRL.

/**
 * 1 if the completion begins with reasoning between `<think>` and `</think>`, followed by `<answer>` and `</answer>`,
 * each tag on its own line; else 0: `^<think>\n.*?\n</think>\n<answer>\n.*?\n</answer>$`, where the dot matches every
 * character and $ every line end.
 */
export const formatReward: RewardFunction = eachCompletion((text) => {
  const open = "<think>\n";
  const middle = "\n</think>\n<answer>\n";
  if (!text.startsWith(open)) return 0;
  // the first position of each tag is sufficient, so that no backtracking is needed
  const at = text.indexOf(middle, open.length);
  return at >= 0 && /\n<\/answer>(?:\n|$)/.test(text.slice(at + middle.length)) ? 1 : 0;
});

/** 0.25 for each of `<think>\n`, `\n</think>\n`, `\n<answer>\n` and `\n</answer>` that occurs exactly once. */
export const tagCountReward: RewardFunction = eachCompletion((text) =>
  ["<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>"].reduce(
    (score, tag) => score + (count(text, tag) === 1 ? 0.25 : 0),
    0,
  ),
);

const STEP = /Step \p{Nd}+:|^\p{Nd}+\.|\n-|\n\*|First,|Second,|Next,|Finally,/gu;

/** A third for each step, at most 1: `Step 1:`, a number and a point at the very start, a line with - or *, First, Next, … */
export const reasoningStepsReward: RewardFunction = eachCompletion((text) =>
  Math.min(1, (text.match(STEP)?.length ?? 0) / 3),
);

/**
 * 1 if the completion begins with `<think>`, has no second `<think>`, and has a `</think>`; else 0.
 *
 * @see TRL's think_format_reward: `^<think>(?!.*<think>)(.*?)</think>.*$`
 */
export const thinkFormatReward: RewardFunction = eachCompletion((text) => {
  const tag = "<think>";
  const alone = text.startsWith(tag) && !text.includes(tag, tag.length);
  return alone && text.includes("</think>", tag.length) ? 1 : 0;
});
