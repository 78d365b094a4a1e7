import { h, uid } from "../dom.ts";

/** A section of a form with its heading. @param under the level of the heading above it */
export function part(title: string, content: HTMLElement, under: "h1" | "h2"): HTMLElement {
  const id = uid("part");
  return h(
    "section",
    { class: "part", "aria-labelledby": id },
    h(under === "h1" ? "h2" : "h3", { id }, title),
    content,
  );
}
