import type { ChatMessage } from "../../src/client/types.ts";
import { formatFileSize } from "../../src/text/bytes.ts";
import type { App } from "../app.ts";
import { imageDrop, sentImages } from "../chat/image-drop.ts";
import { fill, h, setIdle, setText, uid } from "../dom.ts";
import { problemOf } from "../problems.ts";
import type { Run } from "../run.ts";
import { problemLine } from "./notice.ts";

/** A chat with the model, with or without its adapter. */
export function chat(app: App, run: Run, signal: AbortSignal): HTMLElement {
  let messages: ChatMessage[] = [];
  let adapter = true;
  let answering: AbortController | null = null;
  const { element, log, said, input, send, halt, clear, toggle, suggestions, form, busy } = chatElements();
  const drop = imageDrop(form, input, send);

  toggle.addEventListener("click", () => {
    if (answering) return;
    adapter = !adapter;
    toggle.setAttribute("aria-checked", String(adapter));
  });
  clear.addEventListener("click", () => {
    messages = [];
    clear.hidden = true;
    fill(log);
    fill(said);
    suggest();
    input.focus();
  });
  halt.addEventListener("click", () => answering?.abort());
  signal.addEventListener("abort", () => answering?.abort(), { once: true });

  const bubble = (who: string, text: string, className: string) => {
    const body = h("p", { class: "text" }, text);
    log.append(h("div", { class: `bubble ${className}` }, h("p", { class: "who" }, who), body));
    log.scrollTop = log.scrollHeight;
    return body;
  };

  const ask = async (question: string, images: File[] = []) => {
    answering = new AbortController();
    const stop = answering;
    const working = (on: boolean) => {
      input.readOnly = on;
      for (const button of [send, toggle]) setIdle(button, on);
      drop.idle(on);
      halt.hidden = !on;
      clear.hidden = on || messages.length === 0;
    };
    fill(said);
    fill(suggestions);
    messages.push({ role: "user", content: question, ...(images.length > 0 && { images }) });
    const asked = bubble("You", question, "user");
    const shown = sentImages(images);
    if (shown) asked.before(shown);
    working(true);
    // screen readers announce the complete answer, not each piece
    log.setAttribute("aria-busy", "true");
    const body = bubble(adapter ? "With the adapter" : "Without the adapter", "", `model ${adapter ? "on" : "off"}`);
    body.classList.add("waiting");
    let text = "";
    try {
      const request = { run: run.id, model: run.record.job.model, adapter, messages, temperature: 0 };
      for await (const event of app.trainer.chat(request, { signal: stop.signal })) {
        if (event.type === "progress") setText(body, progressText(event));
        if (event.type === "text") {
          body.classList.remove("waiting");
          text += event.text;
          setText(body, text);
          log.scrollTop = log.scrollHeight;
        }
        if (event.type === "end" && event.finish_reason === "length") text += " …";
      }
    } catch (error) {
      if (!stop.signal.aborted && (error as Error).name !== "AbortError")
        fill(said, problemLine("error", problemOf(error)));
    }
    if (signal.aborted) return;
    body.classList.remove("waiting");
    setText(body, text);
    if (text === "") {
      messages.pop();
      body.parentElement?.remove();
      // a question about images can be asked again: of another model, or without them
      if (images.length > 0) {
        asked.parentElement?.remove();
        drop.put(images);
        input.value ||= question;
      }
    } else messages.push({ role: "assistant", content: text });
    log.removeAttribute("aria-busy");
    answering = null;
    working(false);
    input.focus();
  };

  const suggest = () => {
    const asked = run.record.evaluations[0]?.problems.slice(0, 2) ?? [];
    fill(
      suggestions,
      ...asked.map(({ question }) =>
        h("button", { type: "button", class: "secondary small", on: { click: () => void ask(question) } }, question),
      ),
    );
  };
  suggest();

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const question = input.value.trim();
    if ((!question && drop.images.length === 0) || answering) return;
    input.value = "";
    void ask(question, drop.take());
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });

  run.watch(signal, () => {
    const training = app.active.value?.activity !== undefined && app.active.value.activity !== "idle";
    busy.hidden = !training;
    form.hidden = training;
    suggestions.hidden = training;
  });
  return element;
}

/** The layout of a chat. */
function chatElements() {
  const log = h("div", { class: "log", role: "log", "aria-label": "Conversation", tabindex: "0" });
  const said = h("div");
  const input = h("textarea", { rows: 2, id: uid("ask"), placeholder: "Ask the model something" });
  const send = h("button", { type: "submit", class: "primary" }, "Send");
  const halt = h("button", { type: "button", class: "secondary", hidden: true }, "Stop answering");
  const clear = h("button", { type: "button", class: "quiet", hidden: true }, "New conversation");
  const label = uid("adapter");
  const toggle = h(
    "button",
    { type: "button", role: "switch", "aria-checked": "true", "aria-labelledby": label, class: "switch" },
    h("i"),
  );
  const suggestions = h("div", { class: "suggestions" });
  const form = h(
    "form",
    { class: "ask" },
    h("label", { for: input.id, class: "hidden" }, "Your message"),
    input,
    h("div", { class: "actions" }, send, halt, clear),
  );
  const busy = h("p", { class: "about" }, "The model is training. Pause the run to chat.");
  const element = h(
    "section",
    { class: "chat", "aria-labelledby": "chat-title" },
    h(
      "div",
      { class: "row" },
      h("h2", { id: "chat-title" }, "Chat with the model"),
      h("div", { class: "toggle" }, h("span", { id: label }, "Adapter"), toggle),
    ),
    log,
    suggestions,
    said,
    busy,
    form,
  );
  return { element, log, said, input, send, halt, clear, toggle, suggestions, form, busy };
}

function progressText({ what, done, total }: { what: string; done: number; total: number | null }): string {
  return `${what.charAt(0).toUpperCase()}${what.slice(1)}${total ? `, ${formatFileSize(done)} of ${formatFileSize(total)}` : ""} …`;
}
