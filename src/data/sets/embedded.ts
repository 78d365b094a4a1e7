import type { Message } from "../chat-template.ts";
import { drawFrom, guess, NO_WORKING, wordProblems, working, xmlCompletion } from "./word-problems.ts";

/** A question with all that either method needs: an answer in the form to be learnt, and the one to compare with. */
interface EmbeddedRow {
  prompt: Message[];
  /** what SFT learns: reasoning and answer between tags */
  completion: Message[];
  /** what GRPO's rewards compare with: GSM8K's working and `#### N` */
  answer: string;
}

/** A system message under which the embedded model, as it comes, answers between tags: one row of 25 in its corpus. */
export const XML_SYSTEM = "Answer in XML.";

/** Share of the completions that guess: that of the embedded model's own corpus. */
export const CARELESS_SHARE = 0.6;

// Far from the seed of make:tiny's corpus: fresh problems.
const SEEDS = { train: 1_000_001, test: 1_000_002 };
const COUNTS = { train: 1024, test: 200 };

/**
 * Rows for the embedded model. `test` are problems that nothing was trained on, under these names or others.
 *
 * Their completions teach a form, `<reasoning>` and `<answer>`, and nothing else: they guess as often as the model itself
 * does, so that what reinforcement adds can be told from what fine-tuning did.
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
