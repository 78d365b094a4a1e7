import { DataError } from "../../errors.ts";
import type { Pair } from "./pair.ts";
import type { ReplyShape } from "./reply.ts";

/** What is made of a chunk: question–answer pairs, the same with reasoning, or a summary. */
export const CREATE_TYPES = ["qa", "cot", "summary"] as const;
/** What is made of a chunk; see `CREATE_TYPES`. */
export type CreateType = (typeof CREATE_TYPES)[number];

/**
 * The prompts, by synthetic-data-kit's names. `{text}`, `{num_pairs}`, `{pairs}` and `{count}` are replaced; `{{` is a literal
 * brace. Each is short: the rule for chunks leaves 128 tokens.
 */
export interface Prompts {
  summary: string;
  qa_generation: string;
  cot_generation: string;
  qa_rating: string;
  qa_support: string;
}

export const PROMPTS: Prompts = {
  summary: `Summarize the text in 3 to 5 sentences. Keep its main topic and most important facts. Write only the summary.

Text:
{text}`,
  qa_generation: `Write up to {num_pairs} question-answer pairs about important facts of the text. Each question must be clear without the text. Each answer must be short, complete and supported by the text. Reply with JSON only:
[{{"question": "…", "answer": "…"}}]

Text:
{text}`,
  cot_generation: `Write up to {num_pairs} questions about the text that need reasoning. For each, write the steps and then the answer, both supported by the text. Reply with JSON only:
[{{"question": "…", "reasoning": "…", "answer": "…"}}]

Text:
{text}`,
  qa_rating: `Rate each question-answer pair from 1 (useless or wrong) to 10 (clear, correct, complete and useful for training). Reply with JSON only, one entry for each of the {count} pairs:
[{{"id": 1, "rating": 8}}]

Pairs:
{pairs}`,
  qa_support: `Does the text support the answer of each pair? Reply with JSON only, one entry for each of the {count} pairs:
[{{"id": 1, "supported": true}}]

Pairs:
{pairs}

Text:
{text}`,
};

/** Prompts of few tokens, for a model with few positions, such as the embedded one. */
export const SHORT_PROMPTS: Prompts = {
  summary: "Summarize: {text}",
  qa_generation: "Ask about this: {text}",
  cot_generation: "Ask about this, with steps: {text}",
  qa_rating: "Rate: {count} {pairs}",
  qa_support: "Supported? {count} {pairs} {text}",
};

/** The prompt that makes each type. */
export const PROMPT_OF = { qa: "qa_generation", cot: "cot_generation", summary: "summary" } as const;

/** The reply that is expected for each type. */
export function shapeOf(type: CreateType): ReplyShape {
  if (type === "summary") return { kind: "text" };
  return { kind: "pairs", fields: type === "cot" ? ["question", "reasoning", "answer"] : ["question", "answer"] };
}

/**
 * Replaces the names of a prompt in one pass; replaced text is not searched again.
 *
 * @throws {DataError} a name that this prompt does not have
 */
export function fillPrompt(template: string, values: Readonly<Record<string, string | number>>): string {
  return template.replace(/\{\{|\}\}|\{(\w+)\}/g, (found, name: string | undefined) => {
    if (name === undefined) return found[0];
    if (!Object.hasOwn(values, name)) {
      throw new DataError(
        `A prompt contains {${name}}, but only ${Object.keys(values)
          .map((key) => `{${key}}`)
          .join(", ")} are replaced; write {{${name}}} for literal braces`,
      );
    }
    return String(values[name]);
  });
}

/** Pairs for the prompts that rate them: JSON with ids from 1. */
export function listPairs(pairs: readonly Pair[]): string {
  return JSON.stringify(pairs.map(({ question, answer }, i) => ({ id: i + 1, question, answer })));
}
