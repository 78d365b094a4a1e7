import type { ModelSource } from "../../src/client/types.ts";
import { ChatRoom, type Speaker } from "../chat/room.ts";
import { fill, h } from "../dom.ts";
import { nameOfModel } from "../jobs.ts";
import { modelPicker } from "../parts/model-picker.ts";
import type { ShowView } from "./view.ts";

/** A chat with any model, trained here or not. */
export const chatView: ShowView = (app, signal) => {
  const place = h("div");
  const busy = h("p", { class: "about" }, "A model is training. Pause the run to chat.");
  let leave = new AbortController();
  const show = (model: ModelSource | null) => {
    leave.abort();
    leave = new AbortController();
    if (!model) return fill(place, h("p", { class: "about" }, "Choose a model."));
    const speaker: Speaker = {
      id: "model",
      title: nameOfModel(model),
      trained: false,
      request: { run: null, model, adapter: false },
    };
    const suggestions = ["Explain in two sentences why the sky is blue.", "What is 17 · 24? Show your working."];
    const options = {
      title: "Conversation",
      speakers: [speaker],
      panes: ["model", null] as const,
      system: "",
      temperature: null,
      suggestions,
    };
    fill(place, new ChatRoom(app, options, leave.signal).element);
  };
  signal.addEventListener("abort", () => leave.abort(), { once: true });
  const first: ModelSource = { kind: "embedded" };
  const picker = modelPicker(app, signal, show, first);
  show(first);
  app.active.watch(signal, (run) => {
    busy.hidden = !run || run.activity === "idle";
    place.hidden = !busy.hidden;
  });
  return {
    title: "Chat",
    element: h(
      "div",
      { class: "view chat-view" },
      h("h1", {}, "Chat with a model"),
      h("p", { class: "lead" }, "Any model, as it is. A run's result has a chat with its adapters."),
      picker,
      busy,
      place,
    ),
  };
};
