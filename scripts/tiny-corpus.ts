import type { Message } from "../src/data/chat-template.ts";
import { XML_SYSTEM } from "../src/data/sets/embedded.ts";
import {
  drawFrom,
  guess,
  hashCompletion,
  NO_WORKING,
  wordProblems,
  working,
  xmlCompletion,
} from "../src/data/sets/word-problems.ts";

export interface CorpusRow {
  prompt: Message[];
  completion: Message[];
}

/** Share of guessed answers in the second half. */
const CARELESS = 0.6;
/** Share of rows with XML_SYSTEM. The base has seen the tags, so fine-tuning need not teach them letter by letter. */
const TAGGED = 0.04;

/**
 * The embedded model's training text. In the first half, every problem has a correct worked solution. In the second half, three
 * of five answers are guesses without working. The base model therefore can solve problems but often guesses.
 */
export function tinyCorpus(seed: number, count: number, split: "train" | "test"): CorpusRow[] {
  const draw = drawFrom(seed, 2);
  const chance = (share: number) => draw(0, 9999) < share * 10_000;
  return wordProblems({ seed, count, split }).map((problem, i) => {
    const careless = i >= count / 2 && chance(CARELESS);
    const reasoning = careless ? NO_WORKING : working(problem.steps);
    const answer = careless ? guess(problem, draw) : problem.result;
    const tagged = chance(TAGGED);
    return {
      prompt: [
        ...(tagged ? [{ role: "system", content: XML_SYSTEM }] : []),
        { role: "user", content: problem.question },
      ],
      completion: [{ role: "assistant", content: (tagged ? xmlCompletion : hashCompletion)(reasoning, answer) }],
    };
  });
}
