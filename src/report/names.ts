/** A reward function's name as words, without the common ending: `soft_format_reward_func` becomes `soft format`. */
export function rewardName(name: string): string {
  return name.replace(/_(reward|reward_func|func)$/, "").replaceAll("_", " ") || name;
}

export const METHOD_NAMES = { sft: "SFT", grpo: "GRPO", dpo: "DPO" } as const;
