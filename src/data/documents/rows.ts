import { fnvText } from "../../text/hash.ts";
import { normalised } from "./duplicates.ts";
import type { Pair } from "./pair.ts";

/** The formats of `save-as`. */
export const SAVE_FORMATS = ["messages", "prompt_completion", "jsonl", "alpaca", "chatml", "parquet"] as const;
export type SaveFormat = (typeof SAVE_FORMATS)[number];

/** A kept pair with its origin. */
export interface KeptPair extends Pair {
  /** 1 to 10; null: not rated */
  rating: number | null;
  source: string;
  chunk: string;
  pages: number[];
}

/** A pair's answer as a model should write it: reasoning between `<think>` tags, as Qwen3 does, then the answer. */
function completionOf({ answer, reasoning }: Pair): string {
  return reasoning ? `<think>\n${reasoning}\n</think>\n\n${answer}` : answer;
}

/** The training row of a pair. Parquet has the same columns as `messages`. */
export function rowOf(pair: KeptPair, format: SaveFormat, metadata: boolean): Record<string, unknown> {
  const { question, source, chunk, pages, rating } = pair;
  const completion = completionOf(pair);
  const extra = metadata ? { source, chunk, pages, rating } : {};
  const user = { role: "user", content: question };
  const assistant = { role: "assistant", content: completion };
  switch (format) {
    case "messages":
    case "parquet":
      return { messages: [user, assistant], ...extra };
    case "prompt_completion":
      return { prompt: [user], completion: [assistant], ...extra };
    case "jsonl":
      return { question, answer: completion, ...extra };
    case "alpaca":
      return { instruction: question, input: "", output: completion, ...extra };
    case "chatml":
      return {
        text: `<|im_start|>user\n${question}<|im_end|>\n<|im_start|>assistant\n${completion}<|im_end|>\n`,
        ...extra,
      };
  }
}

/**
 * Splits pairs into a training and a test part. A pair's question decides its part, so that the same question is never in both,
 * and more documents do not move it.
 *
 * @param share of the test part: below 1 a share, otherwise a number of pairs; 0: no test part
 */
export function splitPairs<T extends Pair>(pairs: readonly T[], share: number): { train: T[]; test: T[] } {
  if (share === 0) return { train: [...pairs], test: [] };
  const wanted = share < 1 ? Math.round(share * pairs.length) : Math.min(share, pairs.length);
  const order = pairs
    .map((pair, i) => ({ i, hash: fnvText(normalised(pair.question)) >>> 0 }))
    .sort((a, b) => a.hash - b.hash || a.i - b.i);
  const last = wanted > 0 ? order[wanted - 1].hash : -1;
  const chosen = new Set(order.flatMap(({ i, hash }) => (hash <= last ? [i] : [])));
  return { train: pairs.filter((_, i) => !chosen.has(i)), test: pairs.filter((_, i) => chosen.has(i)) };
}
