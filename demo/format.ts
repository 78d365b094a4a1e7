/** `per_device_train_batch_size` as words. Names with capitals keep them. */
export function words(name: string): string {
  const known: Record<string, string> = { lora: "LoRA", peft: "PEFT", kl: "KL", eos: "EOS", rslora: "rsLoRA" };
  const text = name
    .split("_")
    .map((word) => known[word] ?? word)
    .join(" ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
