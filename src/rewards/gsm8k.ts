import { count, extractXmlAnswer, goldAnswer } from "./answers.ts";
import { eachCompletion, type RewardFunction } from "./reward.ts";

// The five rewards of the well-known GRPO recipe for Qwen2.5-0.5B on GSM8K, under their own names:
// W. Brown 2025, grpo_demo.py, https://gist.github.com/willccbb/4676755236bb08cab5f4e54a0475d6fb

/** 2 if the extracted answer is identical to the expected one, else 0. */
export const correctnessReward: RewardFunction = eachCompletion((text, row) =>
  extractXmlAnswer(text) === goldAnswer(row) ? 2 : 0,
);

/** 0.5 if the extracted answer consists only of digits (no sign, comma or point), else 0. */
export const intReward: RewardFunction = eachCompletion((text) =>
  /^\p{Nd}+$/u.test(extractXmlAnswer(text)) ? 0.5 : 0,
);

// In Python, `$` also matches before a final line feed. Early copies of the recipe lacked re.DOTALL, so reasoning of
// several lines never matched (unslothai/unsloth#1761); these are the corrected patterns.
const STRICT = /^<reasoning>\n.*?\n<\/reasoning>\n<answer>\n.*?\n<\/answer>\n\n?$/s;
const SOFT = /^<reasoning>.*?<\/reasoning>\s*<answer>.*?<\/answer>/s;

/** 0.5 if the completion is exactly both blocks, each tag on its own line, with a final line feed; else 0. */
export const strictFormatReward: RewardFunction = eachCompletion((text) => (STRICT.test(text) ? 0.5 : 0));

/** 0.5 if the completion begins with both blocks, with any spacing; else 0. */
export const softFormatReward: RewardFunction = eachCompletion((text) => (SOFT.test(text) ? 0.5 : 0));

/**
 * 0.125 for each tag that occurs once with its line feeds. For the two answer tags, minus 0.001 for each character
 * after the answer's end: for the opening tag after `\n</answer>\n` (all characters if that is missing), for the
 * closing tag after `\n</answer>`, except its line feed.
 */
export const xmlcountReward: RewardFunction = eachCompletion((text) => {
  const behind = (tag: string) => [...text.split(tag).at(-1)!].length;
  let score = 0;
  if (count(text, "<reasoning>\n") === 1) score += 0.125;
  if (count(text, "\n</reasoning>\n") === 1) score += 0.125;
  if (count(text, "\n<answer>\n") === 1) score += 0.125 - behind("\n</answer>\n") * 0.001;
  if (count(text, "\n</answer>") === 1) score += 0.125 - (behind("\n</answer>") - 1) * 0.001;
  return score;
});
