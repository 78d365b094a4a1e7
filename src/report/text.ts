/** One log: the optimizer step it was taken after, counted from 1, and numbers by TRL's names. */
export interface LogRecord {
  readonly step: number;
  readonly [name: string]: unknown;
}

/** One completion of a generation batch, as the trainer tells it or a file holds it. */
export interface Completion {
  /** optimizer step, from 1, that first trains on it */
  step: number;
  /** as the model saw it */
  prompt: string;
  completion: string;
  /** by reward function; null where it does not apply */
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

/** Neighbours that answer one prompt. */
export function byPrompt(completions: readonly Completion[]): Completion[][] {
  const groups: Completion[][] = [];
  for (const completion of completions) {
    const last = groups.at(-1);
    if (last && last[0].prompt === completion.prompt) last.push(completion);
    else groups.push([completion]);
  }
  return groups;
}

/** What was asked: the last user's turn of a ChatML prompt, any other prompt as it is. */
export function question(prompt: string): string {
  const turn = prompt.split("<|im_start|>").findLast((text) => text.startsWith("user\n"));
  return (turn === undefined ? prompt : turn.slice("user\n".length).replace(/<\|im_end\|>\s*$/, "")).trim();
}
