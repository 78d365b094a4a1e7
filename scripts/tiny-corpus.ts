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

/** Share of rows that guess once the textbook is closed. */
const CARELESS = 0.6;
/** Share of rows under XML_SYSTEM: the base has met tags, so that fine-tuning need not teach them letter by letter. */
const TAGGED = 0.04;

/**
 * What the embedded model reads: first half a textbook, every problem worked and right; second half the world, where
 * three of five answers are a guess without working. A base model made so knows how, and often does not bother.
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
