/** Bytes as people and file managers count them: 988_097_824 is `988 MB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value.toFixed(unit === 0 || value >= 9.95 ? 0 : 1)} ${units[unit]}`;
}

/** A span as a person says it: `8 s`, `1 min 05 s`, `2 h 07 min`. */
export function formatSeconds(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const two = (n: number) => String(n).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

/** Some four significant digits; tiny numbers as powers of ten. */
export function formatNumber(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return value.toLocaleString("en").replace("-", "−");
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))} M`.replace("-", "−");
  if (size !== 0 && size < 1e-3) return value.toExponential(1).replace("-", "−").replace("e-", "e−");
  return String(Number(value.toPrecision(size >= 100 ? 4 : 3))).replace("-", "−");
}

/** How many of a thing: `0.9 M`, `494 M`, `640`. */
export function formatCount(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)} B`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(value >= 1e7 ? 0 : 1)} M`;
  if (value >= 1e4) return `${Math.round(value / 1e3)} k`;
  return value.toLocaleString("en");
}

/** A share: 0.4125 is `41 %`. */
export function formatShare(share: number): string {
  return `${Math.round(100 * share)} %`;
}

/** A moment: the time of day, and the date where it is not today. */
export function formatTime(milliseconds: number): string {
  const date = new Date(milliseconds);
  const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const today = date.toDateString() === new Date().toDateString();
  return today ? `today ${time}` : `${date.toLocaleDateString([], { day: "numeric", month: "short" })} ${time}`;
}

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
