import type { ChatRequest } from "../../src/client/types.ts";
import { formatFileSize } from "../../src/text/bytes.ts";
import type { App } from "../app.ts";
import { fill, h, uid } from "../dom.ts";
import { labelled, select } from "../parts/choice.ts";
import { problemLine } from "../parts/notice.ts";
import { problemOf } from "../problems.ts";
import { type AnswerView, answerView } from "./answer.ts";
import { type Composer, composer } from "./composer.ts";
import { ChatHistory } from "./history.ts";
import { sentImages } from "./image-drop.ts";
import { type ChatSettings, chatSettings } from "./settings.ts";

/** Who may answer. */
export interface Speaker {
  id: string;
  title: string;
  /** with an adapter */
  trained: boolean;
  request: Pick<ChatRequest, "run" | "model" | "adapter" | "checkpoint">;
}

interface RoomOptions {
  title: string;
  /** who can be chosen, at least one */
  speakers: readonly Speaker[];
  /** ids of the speakers of both panes; null: an empty pane */
  panes: readonly [string, string | null];
  system: string;
  /** to begin with; null: the model's own */
  temperature: number | null;
  /** questions to begin with */
  suggestions: readonly string[];
}

const NOBODY = "";

/** A chat with one or two models that hear the same questions, each with its own history. */
export class ChatRoom {
  readonly element: HTMLElement;
  readonly composer: Composer;
  readonly #app: App;
  readonly #signal: AbortSignal;
  readonly #options: RoomOptions;
  #speakers: readonly Speaker[];
  readonly #panes: (string | null)[];
  readonly #history = new ChatHistory(2);
  readonly #settings: ChatSettings;
  readonly #log: HTMLElement;
  readonly #said = h("div");
  readonly #suggestions = h("div", { class: "suggestions" });
  readonly #choices = h("div", { class: "chat-panes" });
  readonly #views: (AnswerView | null)[][] = [];
  #answering: AbortController | null = null;
  /** draws of the present turn, so that "Again" draws another answer */
  #draws = 0;

  constructor(app: App, options: RoomOptions, signal: AbortSignal) {
    this.#app = app;
    this.#signal = signal;
    this.#options = options;
    this.#speakers = options.speakers;
    this.#panes = [...options.panes];
    const title = uid("chat");
    const { element: settings, settings: values } = chatSettings(options);
    this.#settings = values;
    this.#log = h("div", { class: "log", role: "log", "aria-label": "Conversation", tabindex: "0" });
    this.composer = composer({
      send: (text, images) => void this.#ask(text, images),
      halt: () => this.#answering?.abort(),
      clear: () => this.#clear(),
    });
    this.element = h(
      "section",
      { class: "chat", "aria-labelledby": title },
      h("h2", { id: title }, options.title),
      this.#choices,
      settings,
      this.#log,
      this.#suggestions,
      this.#said,
      this.composer.form,
    );
    signal.addEventListener("abort", () => this.#answering?.abort(), { once: true });
    this.#showChoices();
    this.#suggest();
  }

  /** Others can be chosen now; a pane whose speaker is gone gets the first, or nobody if the first speaks in another one. */
  offer(speakers: readonly Speaker[]): void {
    this.#speakers = speakers;
    this.#panes.forEach((id, pane) => {
      if (id === null || speakers.some((one) => one.id === id)) return;
      const first = speakers[0]?.id ?? null;
      this.#choose(pane, pane > 0 && this.#panes.includes(first) ? null : first);
    });
    this.#showChoices();
  }

  #showChoices(): void {
    const options = this.#speakers.map(({ id, title }) => [id, title] as const);
    const lists = this.#panes.map((id, pane) => {
      const all = pane === 0 ? options : [[NOBODY, "Nobody"] as const, ...options];
      const list = select(all, id ?? NOBODY, (value) => this.#choose(pane, value || null));
      return labelled(pane === 0 ? "First to answer" : "Second to answer", list);
    });
    fill(this.#choices, ...(this.#speakers.length > 1 ? lists : []));
  }

  #choose(pane: number, id: string | null): void {
    if (this.#panes[pane] === id) return;
    this.#answering?.abort();
    this.#panes[pane] = id;
    this.#history.forget(pane);
  }

  #clear(): void {
    this.#history.turns = [];
    this.#views.length = 0;
    fill(this.#log);
    fill(this.#said);
    this.composer.begun(false);
    this.#suggest();
  }

  #suggest(): void {
    const button = (question: string) =>
      h(
        "button",
        { type: "button", class: "secondary small", on: { click: () => void this.#ask(question) } },
        question,
      );
    fill(this.#suggestions, ...this.#options.suggestions.map(button));
  }

  async #ask(question: string, images: File[] = []): Promise<void> {
    if (this.#answering) return;
    const turn = this.#history.ask(question, images);
    const edit = h("button", { type: "button", class: "quiet" }, "Edit");
    edit.addEventListener("click", () => this.#edit(turn));
    const answers = h("div", { class: "answers-of" });
    this.#views[turn] = this.#panes.map((id, pane) => {
      const speaker = this.#speaker(id);
      if (!speaker) return null;
      const view = answerView(speaker.title, speaker.trained, () => void this.#again(turn, pane));
      answers.append(view.element);
      return view;
    });
    const asked = h(
      "div",
      { class: "bubble user" },
      h("p", { class: "who" }, "You"),
      sentImages(images),
      h("p", { class: "text" }, question),
      edit,
    );
    this.#log.append(h("div", { class: "turn" }, asked, answers));
    this.#draws = 0;
    await this.#answer(turn, [0, 1]);
  }

  async #again(turn: number, pane: number): Promise<void> {
    if (this.#answering || turn !== this.#history.turns.length - 1) return;
    this.#draws++;
    this.#history.turns[turn].answers[pane] = null;
    await this.#answer(turn, [pane]);
  }

  /** Takes a question back into the composer, with all that followed. */
  #edit(turn: number): void {
    if (this.#answering) return;
    const { question, images } = this.#history.takeBack(turn);
    this.composer.drop.put(images);
    this.#views.length = turn;
    for (const element of [...this.#log.children].slice(turn)) element.remove();
    this.composer.begun(turn > 0);
    this.composer.input.value = question;
    this.composer.input.focus();
    if (turn === 0) this.#suggest();
  }

  /** Has panes answer a turn, one after the other: they share the GPU. */
  async #answer(turn: number, panes: readonly number[]): Promise<void> {
    const stop = new AbortController();
    this.#answering = stop;
    fill(this.#said);
    fill(this.#suggestions);
    this.composer.busy(true);
    // screen readers announce the complete answer, not each piece
    this.#log.setAttribute("aria-busy", "true");
    this.#log.scrollTop = this.#log.scrollHeight;
    for (const pane of panes) {
      const view = this.#views[turn][pane];
      const speaker = this.#speaker(this.#panes[pane]);
      if (!view || !speaker) continue;
      if (!stop.signal.aborted) await this.#one(turn, pane, speaker, stop.signal);
      if (this.#signal.aborted) return;
      view.done(this.#history.turns[turn]?.answers[pane] ?? null);
    }
    this.#log.removeAttribute("aria-busy");
    this.#answering = null;
    this.composer.busy(false);
    this.composer.begun(true);
    // a question about images can be asked again: of another model, or without them
    const asked = this.#history.turns[turn];
    if (asked && asked.images.length > 0 && asked.answers.every((answer) => answer === null)) this.#edit(turn);
    this.composer.input.focus({ preventScroll: true });
  }

  async #one(turn: number, pane: number, speaker: Speaker, signal: AbortSignal): Promise<void> {
    const view = this.#views[turn][pane]!;
    const { system, seed, temperature, top_p, max_new_tokens } = this.#settings;
    const messages = this.#history.messages(pane, turn, system);
    const request: ChatRequest = { ...speaker.request, max_new_tokens, messages };
    if (temperature !== null) request.temperature = temperature;
    if (top_p !== null) request.top_p = top_p;
    if (seed !== null) request.seed = (seed + this.#draws) % 2 ** 32;
    const answer = { text: "", tokens: 0, seconds: 0, cut: false };
    view.waiting("…");
    try {
      for await (const event of this.#app.trainer.chat(request, { signal })) {
        if (event.type === "progress") view.waiting(progressText(event));
        if (event.type === "text") {
          const low = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < 80;
          answer.text += event.text;
          view.write(answer.text);
          if (low) this.#log.scrollTop = this.#log.scrollHeight; // but not away from what the user reads
        }
        if (event.type === "end") {
          const { tokens, seconds, finish_reason } = event;
          Object.assign(answer, { tokens, seconds, cut: finish_reason === "length" });
        }
      }
    } catch (error) {
      if (!signal.aborted && (error as Error).name !== "AbortError")
        fill(this.#said, problemLine("error", problemOf(error)));
    }
    if (answer.text !== "" || answer.tokens > 0) this.#history.turns[turn].answers[pane] = answer;
  }

  #speaker(id: string | null): Speaker | null {
    return this.#speakers.find((one) => one.id === id) ?? null;
  }
}

function progressText({ what, done, total }: { what: string; done: number; total: number | null }): string {
  return `${what.charAt(0).toUpperCase()}${what.slice(1)}${total ? `, ${formatFileSize(done)} of ${formatFileSize(total)}` : ""} …`;
}
