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
  answers: (Answer | null)[];
}

/** The conversations of several panes that hear the same questions. Each pane only sees its own answers. */
export class ChatHistory {
  turns: Turn[] = [];
  readonly #panes: number;

  constructor(panes: number) {
    this.#panes = panes;
  }

  ask(question: string): number {
    this.turns.push({ question, answers: Array.from({ length: this.#panes }, () => null) });
    return this.turns.length - 1;
  }

  /** What a pane is sent for a turn: the turns that it answered before, and the question. */
  messages(pane: number, turn: number, system: string): ChatMessage[] {
    const before = this.turns.slice(0, turn).flatMap(({ question, answers }): ChatMessage[] => {
      const answer = answers[pane];
      if (!answer) return [];
      return [
        { role: "user", content: question },
        { role: "assistant", content: answer.text },
      ];
    });
    const first: ChatMessage[] = system.trim() === "" ? [] : [{ role: "system", content: system }];
    return [...first, ...before, { role: "user", content: this.turns[turn].question }];
  }

  /** Takes a turn and those after it back. @returns its question */
  takeBack(turn: number): string {
    const { question } = this.turns[turn];
    this.turns = this.turns.slice(0, turn);
    return question;
  }

  /** Another model speaks in a pane: it has answered nothing. */
  forget(pane: number): void {
    for (const turn of this.turns) turn.answers[pane] = null;
  }
}
