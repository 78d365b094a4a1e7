import type { Message } from "./chat-template.ts";
import {
  drawFrom,
  guess,
  NO_WORKING,
  type WordProblem,
  wordProblems,
  working,
  xmlCompletion,
} from "./word-problems.ts";

/** A row for `qwench sft`: a question, and its answer between tags. */
export interface EmbeddedSftRow {
  prompt: Message[];
  completion: Message[];
}

/** A row for `qwench grpo`: a question; `answer` is GSM8K's, which the rewards compare with. */
export interface EmbeddedPrompt {
  prompt: Message[];
  answer: string;
}

/** Share of the SFT rows that guess: that of the embedded model's own corpus. */
export const CARELESS_SHARE = 0.6;

// Far from the seeds of make:tiny's corpus: fresh problems.
const SFT_SEED = 1_000_001;
const GRPO_SEED = 1_000_002;
const HELD_OUT_SEED = 1_000_003;

const asked = ({ question }: WordProblem): Message[] => [{ role: "user", content: question }];

/**
 * Rows that teach the form, `<reasoning>` and `<answer>`, and nothing else: they guess as often as the model itself does,
 * so that what reinforcement adds can be told from what fine-tuning did.
 */
export function embeddedSftRows(count: number, seed = SFT_SEED): EmbeddedSftRow[] {
  const draw = drawFrom(seed, 3);
  return wordProblems({ seed, count, split: "train" }).map((problem) => {
    const content =
      draw(0, 999) < 1000 * CARELESS_SHARE
        ? xmlCompletion(NO_WORKING, guess(problem, draw))
        : xmlCompletion(working(problem.steps), problem.result);
    return { prompt: asked(problem), completion: [{ role: "assistant", content }] };
  });
}

/** Prompts for reinforcement, with the answers that rewards compare with. */
export function embeddedPrompts(count: number, seed = GRPO_SEED): EmbeddedPrompt[] {
  return wordProblems({ seed, count, split: "train" }).map((problem) => ({
    prompt: asked(problem),
    answer: problem.answer,
  }));
}

/** Problems that nothing was trained on, under these names or others. */
export function heldOutPrompts(count = 200, seed = HELD_OUT_SEED): EmbeddedPrompt[] {
  return wordProblems({ seed, count, split: "test" }).map((problem) => ({
    prompt: asked(problem),
    answer: problem.answer,
  }));
}
