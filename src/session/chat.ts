import { imageCounts, repeated } from "../data/images/tokens.ts";
import type { RowImage } from "../data/row-error.ts";
import { DataError } from "../errors.ts";
import type { Folder } from "../io/storage.ts";
import { dropAdapter, type LoadedAdapter, loadAdapter, setAdapter } from "../model/adapters/loaded.ts";
import type { Generation } from "../model/generate/generate.ts";
import type { SeenImages } from "../model/vision/images.ts";
import { conversationIds, type PreparedText, type RespondOptions, respond, type TextModel } from "./generate.ts";

/** A turn of a chat. */
export interface ChatTurn {
  role: "user" | "assistant";
  content: string;
  /** images before the text */
  images?: readonly ChatImage[];
}

/** An image of a turn. */
export interface ChatImage {
  /** path, for a saved conversation */
  name: string;
  image: RowImage;
}

/** A message of a chat, as the page or a terminal holds it. */
type ChatMessage = Pick<ChatTurn, "content" | "images"> & { role: string };

/**
 * The prompt of a conversation that ends with a question: as many of the newest turns as leave room for an answer. The oldest
 * turns are dropped in pairs; the system message stays.
 *
 * @param room tokens to reserve for the answer, at most a quarter of the model's positions
 * @returns prompt tokens, and the number of dropped turns
 * @throws {DataError} the question alone is too long; the model has no chat template
 */
export function fittedPrompt(
  text: PreparedText,
  messages: readonly ChatMessage[],
  room: number,
): { ids: number[]; gone: number } {
  const { max_position_embeddings: most } = text.config;
  const wanted = Math.min(room, Math.floor(most / 4));
  const turns = messages.filter(({ role }) => role !== "system");
  for (let gone = 0; ; gone += 2) {
    const forgotten = turns.slice(0, gone);
    const ids = promptIds(
      text,
      messages.filter((message) => !forgotten.includes(message)),
    );
    if (ids.length + wanted > most && turns.length - gone > 2) continue;
    if (ids.length < most) return { ids, gone };
    throw new DataError(`Cannot answer: the message has ${ids.length} tokens, and the model has ${most} positions`);
  }
}

/** Prompt tokens of messages with their images. */
function promptIds(text: PreparedText, messages: readonly ChatMessage[]): number[] {
  const images = messages.flatMap((message) => (message.images ?? []).map(({ image }) => image));
  const ids = conversationIds(text, messages.map(withParts));
  if (images.length === 0) return ids;
  const counts = imageCounts(
    { row: {}, number: 1, file: "chat", images },
    ids,
    text.config.vision?.image_token_id ?? null,
  );
  return repeated(ids, counts);
}

/** A message as its template takes it: its images as parts before its text. */
function withParts({ role, content, images = [] }: ChatMessage): { role: string; content: unknown } {
  if (images.length === 0) return { role, content };
  return { role, content: [...images.map(() => ({ type: "image" })), { type: "text", text: content }] };
}

/** A chat. It keeps as many turns as fit the model's positions. */
export class Conversation {
  system: string | null;
  /** alternating user and assistant */
  turns: ChatTurn[] = [];
  private readonly text: PreparedText;

  constructor(text: PreparedText, system: string | null) {
    this.text = text;
    this.system = system;
  }

  /** All messages, the system message first. */
  get messages(): ChatMessage[] {
    return [...(this.system === null ? [] : [{ role: "system", content: this.system }]), ...this.turns];
  }

  /**
   * Adds a message of the user.
   *
   * @param room tokens to reserve for the answer
   * @param images that the message is about
   * @returns prompt tokens, and the number of turns dropped because they do not fit
   * @throws {DataError} the message alone is too long; the chat is unchanged
   */
  ask(content: string, room: number, images: readonly ChatImage[] = []): { ids: number[]; gone: number } {
    const asked: ChatTurn = { role: "user", content, ...(images.length > 0 && { images }) };
    const fitted = fittedPrompt(this.text, [...this.messages, asked], room);
    this.turns = [...this.turns, asked].slice(fitted.gone);
    return fitted;
  }

  /** The images of all turns, in the order of their tokens. */
  get images(): RowImage[] {
    return this.turns.flatMap(({ images = [] }) => images.map(({ image }) => image));
  }

  /** Adds the answer. An empty answer, interrupted before its first word, removes its question. */
  answer(content: string): void {
    if (content === "") this.turns = this.turns.slice(0, -1);
    else this.turns = [...this.turns, { role: "assistant", content }];
  }
}

/** New text of an answer, or the answer's end. */
export type AnswerEvent =
  | { type: "text"; text: string }
  | { type: "end"; finish_reason: Generation["finish_reason"]; tokens: number; seconds: number };

/**
 * Writes one answer.
 *
 * @param prompt_ids from `Conversation.ask` or `conversationIds`
 * @param number the answer's number within its chat; the seed and this number determine sampling
 * @param images what the model sees of the conversation's images
 * @throws {AbortError} the signal was aborted
 */
export async function* answerTo(
  text: TextModel,
  prompt_ids: readonly number[],
  { number = 0, images = null, ...options }: RespondOptions & { number?: number; images?: SeenImages | null },
): AsyncGenerator<AnswerEvent> {
  const began = performance.now();
  for await (const event of respond(text, [{ prompt_ids, number, images }], options)) {
    if (event.type === "text") yield { type: "text", text: event.text };
    else {
      const seconds = (performance.now() - began) / 1000;
      yield { type: "end", finish_reason: event.made.finish_reason, tokens: event.made.ids.length, seconds };
    }
  }
}

/** Switches a text model's adapter on and off without reloading it. Only one adapter is loaded at a time. */
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

  /** Whether an adapter is loaded, on or off. */
  get present(): boolean {
    return this.loaded !== null;
  }

  get on(): boolean {
    return this.isOn;
  }

  /** Switches the loaded adapter on or off. */
  turn(on: boolean): void {
    this.isOn = on;
    setAdapter(this.text.model, on ? this.loaded : null);
  }

  /**
   * Loads an adapter in place of the current adapter, and switches it on. On failure the current adapter stays unchanged.
   *
   * @param name identifies the adapter: the same name again does not reload it; null always loads
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
