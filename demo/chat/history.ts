import type { ChatMessage } from "../../src/client/types.ts";

/** A model's answer. */
export interface Answer {
  text: string;
  /** of the model, and the time that they took */
  tokens: number;
  seconds: number;
  /** the largest length was reached */
  cut: boolean;
}

/** A question with the answer of each pane; null: it has not answered. */
interface Turn {
  question: string;
  images: File[];
  answers: (Answer | null)[];
}

/** The conversations of several panes that hear the same questions. Each pane only sees its own answers. */
export class ChatHistory {
  turns: Turn[] = [];
  readonly #panes: number;

  constructor(panes: number) {
    this.#panes = panes;
  }

  ask(question: string, images: File[] = []): number {
    this.turns.push({ question, images, answers: Array.from({ length: this.#panes }, () => null) });
    return this.turns.length - 1;
  }

  /** What a pane is sent for a turn: the turns that it answered before, and the question. */
  messages(pane: number, turn: number, system: string): ChatMessage[] {
    const before = this.turns.slice(0, turn).flatMap(({ question, images, answers }): ChatMessage[] => {
      const answer = answers[pane];
      if (!answer) return [];
      return [asked(question, images), { role: "assistant", content: answer.text }];
    });
    const first: ChatMessage[] = system.trim() === "" ? [] : [{ role: "system", content: system }];
    const { question, images } = this.turns[turn];
    return [...first, ...before, asked(question, images)];
  }

  /** Takes a turn and those after it back. @returns its question and images */
  takeBack(turn: number): Pick<Turn, "question" | "images"> {
    const { question, images } = this.turns[turn];
    this.turns = this.turns.slice(0, turn);
    return { question, images };
  }

  /** Another model speaks in a pane: it has answered nothing. */
  forget(pane: number): void {
    for (const turn of this.turns) turn.answers[pane] = null;
  }
}

function asked(content: string, images: File[]): ChatMessage {
  return { role: "user", content, ...(images.length > 0 && { images }) };
}
