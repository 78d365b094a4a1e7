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
  /** before the question */
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
    const before = this.turns.slice(0, turn).flatMap(({ answers, ...asked }): ChatMessage[] => {
      const answer = answers[pane];
      if (!answer) return [];
      return [said(asked), { role: "assistant", content: answer.text }];
    });
    const first: ChatMessage[] = system.trim() === "" ? [] : [{ role: "system", content: system }];
    return [...first, ...before, said(this.turns[turn])];
  }

  /** Takes a turn and those after it back. @returns its question, with its images */
  takeBack(turn: number): Pick<Turn, "question" | "images"> {
    const taken = this.turns[turn];
    this.turns = this.turns.slice(0, turn);
    return taken;
  }

  /** Another model speaks in a pane: it has answered nothing. */
  forget(pane: number): void {
    for (const turn of this.turns) turn.answers[pane] = null;
  }
}

function said({ question, images }: Pick<Turn, "question" | "images">): ChatMessage {
  return { role: "user", content: question, ...(images.length > 0 && { images }) };
}
