/** `per_device_train_batch_size` as words; names that are written with capitals keep them. */
export function words(name: string): string {
  const known: Record<string, string> = { lora: "LoRA", peft: "PEFT", kl: "KL", eos: "EOS", rslora: "rsLoRA" };
  const text = name
    .split("_")
    .map((word) => known[word] ?? word)
    .join(" ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A reward's name without the ending that all of a recipe share: `int` of `int_reward_func`. */
export function rewardName(name: string): string {
  return name.replace(/_(reward|reward_func|func)$/, "").replaceAll("_", " ") || name;
}

export const METHOD_NAMES = { sft: "SFT", grpo: "GRPO" } as const;
