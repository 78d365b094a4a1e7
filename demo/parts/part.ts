import { h, uid } from "../dom.ts";

/** A section of a form with its heading. */
export function part(title: string, content: HTMLElement): HTMLElement {
  const id = uid("part");
  return h("section", { class: "part", "aria-labelledby": id }, h("h3", { id }, title), content);
}
