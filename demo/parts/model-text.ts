import { h } from "../dom.ts";

/** Tags that structure an answer, shown less prominently than their contents. */
const TAGS = /(<\/?(?:reasoning|answer|think)>)/;

/** A model's output, always inserted as plain text. */
export function modelText(text: string): HTMLElement {
  if (text === "") return h("p", { class: "text" }, h("em", {}, "empty"));
  const parts = text.split(TAGS).map((part) => (TAGS.test(part) ? h("span", { class: "tag" }, part) : part));
  return h("p", { class: "text" }, ...parts);
}
