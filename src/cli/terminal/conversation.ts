import { DataError } from "../../errors.ts";
import { conversationIds, type PreparedText } from "../../session/generate.ts";

export interface ChatTurn {
  role: "user" | "assistant";
  content: string;
}

/** What was said in a chat, as much of it as the model has positions for. */
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
   * @param room tokens that the answer may take; where they do not fit the oldest turns go, the system's message stays
   * @returns prompt tokens, and how many turns went
   * @throws {DataError} a message that does not fit by itself; it is then not added
   */
  ask(content: string, room: number): { ids: number[]; gone: number } {
    const { max_position_embeddings: most } = this.text.config;
    const before = this.turns;
    this.turns = [...before, { role: "user", content }];
    const wanted = Math.min(room, Math.floor(most / 4)); // a long answer is no reason to forget everything
    try {
      let ids = conversationIds(this.text, this.messages);
      while (ids.length + wanted > most && this.turns.length > 1) {
        this.turns = this.turns.slice(2);
        ids = conversationIds(this.text, this.messages);
      }
      if (ids.length < most) return { ids, gone: before.length + 1 - this.turns.length };
      throw new DataError(
        `Cannot answer: the message has ${ids.length} tokens, and the model ${most} positions in all`,
      );
    } catch (error) {
      this.turns = before;
      throw error;
    }
  }

  /** Adds the answer; one that broke off before its first word takes the question with it. */
  answer(content: string): void {
    if (content === "") this.turns = this.turns.slice(0, -1);
    else this.turns = [...this.turns, { role: "assistant", content }];
  }
}
