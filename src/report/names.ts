/** A reward function's name as words, without the ending that all of a recipe share: `soft format` of `soft_format_reward_func`. */
export function rewardName(name: string): string {
  return name.replace(/_(reward|reward_func|func)$/, "").replaceAll("_", " ") || name;
}

export const METHOD_NAMES = { sft: "SFT", grpo: "GRPO", dpo: "DPO" } as const;
