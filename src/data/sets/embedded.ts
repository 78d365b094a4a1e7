import type { Message } from "../chat-template.ts";
import { drawFrom, guess, hashCompletion, NO_WORKING, wordProblems, working, xmlCompletion } from "./word-problems.ts";

/** A question for SFT and GRPO: a completion to learn, and the answer for the rewards. */
interface EmbeddedRow {
  prompt: Message[];
  /** SFT's target: reasoning and answer between tags */
  completion: Message[];
  /** GRPO's reference answer: GSM8K's working and `#### N` */
  answer: string;
}

/**
 * With this system message, the embedded model answers between tags without training: 1 row of 25 in its corpus has it.
 */
export const XML_SYSTEM = "Answer in XML.";

/** Share of completions that guess, the same as in the embedded model's corpus. */
export const CARELESS_SHARE = 0.6;

// Far from the seed of make:tiny's corpus, for new problems.
const SEEDS = { train: 1_000_001, test: 1_000_002 };
const COUNTS = { train: 1024, test: 200 };
const PREFERENCES = { train: 512, test: 100 };

/**
 * Rows for the embedded model. `test` has problems that no model was trained on, under any names.
 *
 * The completions teach only a format, `<reasoning>` and `<answer>`: they guess as often as the model itself, so that
 * the effects of GRPO and SFT can be told apart.
 */
export function embeddedRows(split: "train" | "test", count = COUNTS[split], seed = SEEDS[split]): EmbeddedRow[] {
  const draw = drawFrom(seed, 3);
  return wordProblems({ seed, count, split }).map((problem) => {
    const careless = draw(0, 999) < 1000 * CARELESS_SHARE;
    const content = careless
      ? xmlCompletion(NO_WORKING, guess(problem, draw))
      : xmlCompletion(working(problem.steps), problem.result);
    return {
      prompt: [{ role: "user", content: problem.question }],
      completion: [{ role: "assistant", content }],
      answer: problem.answer,
    };
  });
}

/** A question with a better and a worse answer, in the embedded model's answer format. */
interface EmbeddedPreference {
  prompt: Message[];
  /** with its working */
  chosen: Message[];
  /** a guess */
  rejected: Message[];
}

/**
 * Preferences for the embedded model: worked answers over guesses (it gives both equally often), for `embeddedRows`'
 * problems.
 */
export function embeddedPreferences(
  split: "train" | "test",
  count = PREFERENCES[split],
  seed = SEEDS[split],
): EmbeddedPreference[] {
  const draw = drawFrom(seed, 4);
  const answer = (content: string): Message[] => [{ role: "assistant", content }];
  return wordProblems({ seed, count, split }).map((problem) => ({
    prompt: [{ role: "user", content: problem.question }],
    chosen: answer(hashCompletion(working(problem.steps), problem.result)),
    rejected: answer(hashCompletion(NO_WORKING, guess(problem, draw))),
  }));
}
