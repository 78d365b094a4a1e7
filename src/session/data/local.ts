import { DataError } from "../../errors.ts";
import { promptOf, type RespondOptions, respond, type TextModel } from "../generate.ts";
import type { Asker, NumberedQuestion, Reply } from "./ask.ts";

interface LocalOptions {
  /** names the model, its adapter and its dtype: replies on disk belong to them */
  identity: Readonly<Record<string, unknown>>;
  seed: number;
  /** replies generated together; default: as memory allows */
  slots?: number;
  /** called with the number of new tokens */
  onTokens?: (count: number) => void;
}

/** Asks a model on this machine, many questions in a batch. A reply depends on its question and the seed, not on the batch. */
export function localAsker(text: TextModel, options: LocalOptions): Asker {
  const { seed, slots, onTokens } = options;

  async function* ask(questions: readonly NumberedQuestion[], signal: AbortSignal): AsyncGenerator<Reply> {
    const prompts = questions.map((question) => ({ ...promptOfQuestion(text, question), number: question.number }));
    // one batch has one temperature and one limit; a stage's questions have the same
    const groups = new Map<string, number[]>();
    for (const [i, { temperature, top_p, max_tokens }] of questions.entries()) {
      const key = JSON.stringify([temperature, top_p, max_tokens]);
      groups.set(key, [...(groups.get(key) ?? []), i]);
    }
    for (const group of groups.values()) {
      const { temperature, top_p, max_tokens } = questions[group[0]];
      const settings: RespondOptions = {
        ...{ temperature, top_p, top_k: 0, min_p: 0, repetition_penalty: 1 },
        ...{ max_new_tokens: max_tokens, seed, slots, signal },
      };
      const own = group.map((i) => prompts[i]);
      for await (const event of respond(text, own, settings)) {
        if (event.type === "text") onTokens?.(event.tokens);
        else {
          const { text: reply, ids } = event.made;
          const index = group[event.prompt];
          yield { index, text: reply, prompt_tokens: prompts[index].prompt_ids.length, completion_tokens: ids.length };
        }
      }
    }
  }
  return { identity: { ...options.identity, seed }, ask };
}

function promptOfQuestion(text: TextModel, { prompt, max_tokens }: NumberedQuestion) {
  const made = promptOf(text, { row: { prompt }, number: 1, file: "the prompt" });
  const { max_position_embeddings: most } = text.config;
  const length = made.prompt_ids.length;
  if (length + Math.min(max_tokens, 16) > most) {
    throw new DataError(
      `Cannot ask the model: the prompt has ${length} tokens, and the model has ${most} positions; give a smaller max_seq_length`,
    );
  }
  return made;
}
