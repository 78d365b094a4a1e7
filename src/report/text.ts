/** One log: the optimizer step, counted from 1, after which it was taken, and numbers by TRL's names. */
export interface LogRecord {
  readonly step: number;
  readonly [name: string]: unknown;
}

/** One completion of a generation batch, from the trainer or a file. */
export interface Completion {
  /** first optimizer step that trains on it, counted from 1 */
  step: number;
  /** text of the prompt as the model saw it */
  prompt: string;
  completion: string;
  /** by reward function; null if a function does not apply */
  rewards: Record<string, number | null>;
  advantage: number;
  finish_reason: string;
  /** tokens */
  length: number;
  /** keys of the prompt's images; absent: none */
  images?: readonly string[];
}

/** A generation batch. */
export interface CompletionBatch {
  step: number;
  completions: Completion[];
}

/** Groups neighbouring completions of the same prompt and images. */
export function byPrompt<T extends Pick<Completion, "prompt" | "images">>(completions: readonly T[]): T[][] {
  const groups: T[][] = [];
  for (const completion of completions) {
    const last = groups.at(-1);
    const same = last && last[0].prompt === completion.prompt && String(last[0].images) === String(completion.images);
    if (same) last.push(completion);
    else groups.push([completion]);
  }
  return groups;
}

/** The question: the last user turn of a ChatML prompt without the places of images, or any other prompt unchanged. */
export function question(prompt: string): string {
  const turn = prompt.split("<|im_start|>").findLast((text) => text.startsWith("user\n"));
  if (turn === undefined) return prompt.trim();
  const text = turn.slice("user\n".length).replace(/<\|im_end\|>\s*$/, "");
  return text.replaceAll("<|vision_start|><|image_pad|><|vision_end|>", "").trim();
}
