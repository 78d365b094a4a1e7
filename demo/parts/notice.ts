import { h } from "../dom.ts";
import type { Problem } from "../problems.ts";

const MARKS = { info: "i", warning: "!", error: "!" } as const;

/** Adds a full stop, because errors end without one. */
const sentence = (text: string) => (/[.!?…]$/.test(text) ? text : `${text}.`);

/** A problem and what to do about it. Screen readers announce errors immediately. */
export function problemLine(
  kind: keyof typeof MARKS,
  { text, todo, link }: Problem,
  dismiss?: () => void,
): HTMLElement {
  return h(
    "div",
    { class: `notice ${kind}`, role: kind === "error" ? "alert" : "status" },
    h("span", { class: "mark", "aria-hidden": "true" }, MARKS[kind]),
    h(
      "p",
      {},
      h("strong", {}, sentence(text)),
      todo && ` ${sentence(todo)}`,
      link && " ",
      link && h("a", { href: link.href }, link.text),
    ),
    dismiss && h("button", { class: "quiet", type: "button", "aria-label": "Dismiss", on: { click: dismiss } }, "×"),
  );
}
