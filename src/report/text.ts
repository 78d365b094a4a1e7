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
}

/** A generation batch. */
export interface CompletionBatch {
  step: number;
  completions: Completion[];
}

/** Groups neighbouring completions of the same prompt. */
export function byPrompt(completions: readonly Completion[]): Completion[][] {
  const groups: Completion[][] = [];
  for (const completion of completions) {
    const last = groups.at(-1);
    if (last && last[0].prompt === completion.prompt) last.push(completion);
    else groups.push([completion]);
  }
  return groups;
}

/** The question: the last user turn of a ChatML prompt, or any other prompt unchanged. */
export function question(prompt: string): string {
  const turn = prompt.split("<|im_start|>").findLast((text) => text.startsWith("user\n"));
  return (turn === undefined ? prompt : turn.slice("user\n".length).replace(/<\|im_end\|>\s*$/, "")).trim();
}
