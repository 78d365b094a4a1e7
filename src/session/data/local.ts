import type { ReplyShape } from "../../data/documents/reply.ts";
import { grammarOf } from "../../data/grammar/replies.ts";
import { TokenMasks, type TokenTable, tokenTable } from "../../data/grammar/token-masks.ts";
import { DataError } from "../../errors.ts";
import { promptOf, type RespondOptions, respond, type TextModel } from "../generate.ts";
import type { Asker, NumberedQuestion, Reply } from "./ask.ts";

interface LocalOptions {
  /** names the model, its adapter and its dtype: replies on disk belong to them */
  identity: Readonly<Record<string, unknown>>;
  seed: number;
  /** replies generated together; default: as memory allows */
  slots?: number;
  /** restrict replies to the JSON that is asked for */
  grammar: boolean;
  /** called with the number of new tokens */
  onTokens?: (count: number) => void;
}

/** Asks a model on this machine, many questions in a batch. A reply depends on its question and the seed, not on the batch. */
export function localAsker(text: TextModel, options: LocalOptions): Asker {
  const { seed, slots, onTokens, grammar } = options;
  let table: TokenTable | null = null;
  const masks = new Map<string, TokenMasks | null>();
  const masksOf = (shape: ReplyShape, max_tokens: number): TokenMasks | null => {
    const key = JSON.stringify(shape);
    const automaton = masks.has(key) ? null : grammarOf(shape);
    if (automaton) {
      table ??= tokenTable(text.tokenizer, text.config.vocab_size);
      masks.set(key, new TokenMasks(table, automaton, text.eos_token_ids));
    }
    const found = masks.get(key) ?? null;
    if (found && max_tokens < found.least) {
      throw new DataError(
        `Cannot make JSON of at most ${max_tokens} tokens: this reply needs up to ${found.least}; give a larger max_generation_tokens`,
      );
    }
    return found;
  };

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
      if (grammar)
        settings.allowed = allowedOf(
          text,
          group.map((i) => masksOf(questions[i].shape, max_tokens)),
        );
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
  return { identity: { ...options.identity, seed, grammar }, ask };
}

/** The masks of a batch's replies; each remembers its state. */
function allowedOf(text: TextModel, masks: readonly (TokenMasks | null)[]): RespondOptions["allowed"] {
  const states = masks.map((own) => ({ state: own?.start ?? 0, length: 0 }));
  return (ids, response, left) => {
    const own = masks[response];
    if (own === null) return null;
    const at = states[response];
    for (; at.length < ids.length; at.length++) {
      at.state = own.advance(at.state, text.tokenizer.tokenBytes(ids[at.length]) ?? []);
    }
    return own.allowed(at.state, left);
  };
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
