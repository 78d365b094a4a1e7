import { formatFixed } from "../../src/text/numbers.ts";
import { fill, h, setText } from "../dom.ts";
import type { Answer } from "./history.ts";

/** One answer on the page. */
export interface AnswerView {
  element: HTMLElement;
  /** what is done before the first word */
  waiting(what: string): void;
  /** the text so far */
  write(text: string): void;
  /** the whole answer, as Markdown; null: there is none */
  done(answer: Answer | null): void;
}

/** @param again draws the answer again; null: only the newest can be */
export function answerView(speaker: string, trained: boolean, again: () => void): AnswerView {
  const body = h("div", { class: "text waiting" });
  const figures = h("span", { class: "about" });
  const copy = h("button", { type: "button", class: "quiet" }, "Copy");
  const repeat = h("button", { type: "button", class: "quiet again", on: { click: again } }, "Again");
  const foot = h("div", { class: "foot", hidden: true }, figures, copy, repeat);
  const element = h(
    "div",
    { class: `bubble model ${trained ? "on" : "off"}` },
    h("p", { class: "who" }, speaker),
    body,
    foot,
  );
  return {
    element,
    waiting: (what) => setText(body, what),
    write(text) {
      body.classList.remove("waiting");
      setText(body, text);
    },
    done(answer) {
      body.classList.remove("waiting");
      foot.hidden = false;
      if (!answer) {
        fill(body, h("em", {}, "no answer"));
        copy.hidden = true;
        return;
      }
      const { text, tokens, seconds, cut } = answer;
      setText(body, text === "" ? "empty" : text);
      const rate = seconds > 0 ? `, ${formatFixed(tokens / seconds, 1)} tokens/s` : "";
      setText(figures, `${tokens} tokens${rate}${cut ? ", cut off" : ""}`);
      copy.onclick = async () => {
        const copied = await copyText(text);
        setText(copy, copied ? "Copied" : "The browser refuses");
        setTimeout(() => setText(copy, "Copy"), 1500);
      };
      void asMarkdown(body, text);
    },
  };
}

async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text); // absent in an insecure context
    return true;
  } catch {
    return false;
  }
}

/** Shows a text's Markdown once its renderer has loaded; without it, the text stays. */
async function asMarkdown(body: HTMLElement, text: string): Promise<void> {
  if (text === "") return;
  try {
    const { rendered } = await import("./render.ts");
    if (body.textContent !== text) return; // drawn again meanwhile
    body.classList.add("rendered");
    fill(body, rendered(text));
  } catch {
    // offline before the renderer was loaded
  }
}
