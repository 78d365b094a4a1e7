import { h, setIdle, uid } from "../dom.ts";
import { type ImageDrop, imageDrop } from "./image-drop.ts";

/** Where the user writes a message. */
export interface Composer {
  form: HTMLFormElement;
  input: HTMLTextAreaElement;
  /** the images of the next message */
  drop: ImageDrop;
  /** while an answer is written, a message can only be stopped */
  busy(on: boolean): void;
  /** whether there is a conversation to begin anew */
  begun(on: boolean): void;
}

/** @param act what the buttons do */
export function composer(act: { send(text: string, images: File[]): void; halt(): void; clear(): void }): Composer {
  const input = h("textarea", { rows: 2, id: uid("ask"), placeholder: "Ask the model something" });
  const send = h("button", { type: "submit", class: "primary" }, "Send");
  const halt = h("button", { type: "button", class: "secondary", hidden: true, on: { click: act.halt } }, "Stop");
  const clear = h("button", { type: "button", class: "quiet", hidden: true }, "New conversation");
  let [working, started] = [false, false];
  const show = () => {
    input.readOnly = working;
    setIdle(send, working);
    halt.hidden = !working;
    clear.hidden = working || !started;
  };
  clear.addEventListener("click", () => {
    act.clear();
    input.focus();
  });
  const form = h(
    "form",
    { class: "ask" },
    h("label", { for: input.id, class: "hidden" }, "Your message"),
    input,
    h("div", { class: "actions" }, send, halt, clear),
  );
  const drop = imageDrop(form, input, send);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = input.value.trim();
    if ((!text && drop.images.length === 0) || working) return;
    input.value = "";
    act.send(text, drop.take());
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  return {
    form,
    input,
    drop,
    busy(on) {
      working = on;
      drop.idle(on);
      show();
    },
    begun(on) {
      started = on;
      show();
    },
  };
}
