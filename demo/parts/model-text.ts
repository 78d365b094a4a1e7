import { h } from "../dom.ts";

/** Tags that lay an answer out; they step back behind what they hold. */
const TAGS = /(<\/?(?:reasoning|answer|think)>)/;

/** What a model wrote, as it wrote it: text only, whatever it looks like. */
export function modelText(text: string): HTMLElement {
  if (text === "") return h("p", { class: "text" }, h("em", {}, "empty"));
  const parts = text.split(TAGS).map((part) => (TAGS.test(part) ? h("span", { class: "tag" }, part) : part));
  return h("p", { class: "text" }, ...parts);
}
