import { DataError } from "../errors.ts";
import type { Folder } from "../io/storage.ts";
import { dropAdapter, type LoadedAdapter, loadAdapter, setAdapter } from "../model/adapters/loaded.ts";
import type { Generation } from "../model/generate/generate.ts";
import { conversationIds, type PreparedText, type RespondOptions, respond, type TextModel } from "./generate.ts";

/** A turn of a chat. */
export interface ChatTurn {
  role: "user" | "assistant";
  content: string;
}

/**
 * The prompt of a conversation that ends with a question: its newest turns, as many as leave room for an answer. The oldest
 * go two at a time; the system's message stays.
 *
 * @param room tokens that the answer may take; a long one is no reason to forget everything
 * @returns prompt tokens, and how many turns went
 * @throws {DataError} a question that does not fit by itself; no chat template
 */
export function fittedPrompt(
  text: PreparedText,
  messages: readonly { role: string; content: string }[],
  room: number,
): { ids: number[]; gone: number } {
  const { max_position_embeddings: most } = text.config;
  const wanted = Math.min(room, Math.floor(most / 4));
  const turns = messages.filter(({ role }) => role !== "system");
  for (let gone = 0; ; gone += 2) {
    const forgotten = turns.slice(0, gone);
    const ids = conversationIds(
      text,
      messages.filter((message) => !forgotten.includes(message)),
    );
    if (ids.length + wanted > most && turns.length - gone > 2) continue;
    if (ids.length < most) return { ids, gone };
    throw new DataError(`Cannot answer: the message has ${ids.length} tokens, and the model ${most} positions in all`);
  }
}

/** The turns of a chat, as many as fit the model's positions. */
export class Conversation {
  system: string | null;
  /** user and assistant in turn */
  turns: ChatTurn[] = [];
  private readonly text: PreparedText;

  constructor(text: PreparedText, system: string | null) {
    this.text = text;
    this.system = system;
  }

  /** All messages, the system's first. */
  get messages(): { role: string; content: string }[] {
    return [...(this.system === null ? [] : [{ role: "system", content: this.system }]), ...this.turns];
  }

  /**
   * Adds what the user says.
   *
   * @param room tokens that the answer may take
   * @returns prompt tokens, and how many turns went because they do not fit
   * @throws {DataError} a message that does not fit by itself; it is then not added
   */
  ask(content: string, room: number): { ids: number[]; gone: number } {
    const asked: ChatTurn = { role: "user", content };
    const fitted = fittedPrompt(this.text, [...this.messages, asked], room);
    this.turns = [...this.turns, asked].slice(fitted.gone);
    return fitted;
  }

  /** Adds the answer; one that broke off before its first word takes the question with it. */
  answer(content: string): void {
    if (content === "") this.turns = this.turns.slice(0, -1);
    else this.turns = [...this.turns, { role: "assistant", content }];
  }
}

/** A piece of an answer as it comes, or its end. */
export type AnswerEvent =
  | { type: "text"; text: string }
  | { type: "end"; finish_reason: Generation["finish_reason"]; tokens: number; seconds: number };

/**
 * Writes one answer.
 *
 * @param prompt_ids as `Conversation.ask` or `conversationIds` give them
 * @param number of the answer within its chat: with the seed it decides the draws
 * @throws {AbortError} the signal was aborted
 */
export async function* answerTo(
  text: TextModel,
  prompt_ids: readonly number[],
  { number = 0, ...options }: RespondOptions & { number?: number },
): AsyncGenerator<AnswerEvent> {
  const began = performance.now();
  for await (const event of respond(text, [{ prompt_ids, number }], options)) {
    if (event.type === "text") yield { type: "text", text: event.text };
    else {
      const seconds = (performance.now() - began) / 1000;
      yield { type: "end", finish_reason: event.made.finish_reason, tokens: event.made.ids.length, seconds };
    }
  }
}

/** The adapter of a model that writes text: one is loaded at a time, and goes on and off without loading again. */
export class AdapterSwitch {
  private readonly text: TextModel;
  private loaded: LoadedAdapter | null;
  private name: string | null = null;
  private isOn: boolean;

  constructor(text: TextModel) {
    this.text = text;
    this.loaded = text.adapter;
    this.isOn = text.adapter !== null;
  }

  /** Whether there is an adapter, on or off. */
  get present(): boolean {
    return this.loaded !== null;
  }

  get on(): boolean {
    return this.isOn;
  }

  /** Puts the adapter on that is there, or takes it off. */
  turn(on: boolean): void {
    this.isOn = on;
    setAdapter(this.text.model, on ? this.loaded : null);
  }

  /**
   * Loads an adapter in place of the one before, and puts it on. Where that fails, the one before stays as it was.
   *
   * @param name by which it is known again, and then not loaded a second time; null loads it in every case
   * @throws {FormatError} an adapter for another model
   */
  async put(folder: Folder, name: string | null = null): Promise<void> {
    if (name === null || name !== this.name) {
      const { model } = this.text;
      const other = await loadAdapter(model, folder);
      setAdapter(model, null);
      if (this.loaded) await dropAdapter(this.loaded);
      this.loaded = other;
      this.name = name;
    }
    this.turn(true);
  }
}
