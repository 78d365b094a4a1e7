import { h } from "../dom.ts";
import { hasField, SHOW_FIELD } from "../errors/field.ts";
import type { Problem } from "../problems.ts";

const MARKS = { info: "i", warning: "!", error: "!" } as const;

/** Adds a full stop, because errors end without one. */
const sentence = (text: string) => (/[.!?…]$/.test(text) ? text : `${text}.`);

/** Asks the page to sign in to the hub; it bubbles. */
export const SIGN_IN = "qwench-sign-in";

/** A problem: its title, its detail, and buttons for what helps. Screen readers announce errors immediately. */
export function problemLine(
  kind: keyof typeof MARKS,
  { title, text, todo, link, signIn, field, raw }: Problem,
  dismiss?: () => void,
): HTMLElement {
  const wrong = field && hasField(field) ? field : null;
  return h(
    "div",
    { class: `notice ${kind}`, role: kind === "error" ? "alert" : "status" },
    h("span", { class: "mark", "aria-hidden": "true" }, MARKS[kind]),
    h(
      "div",
      { class: "words" },
      h(
        "p",
        {},
        h("strong", {}, sentence(title ?? text)),
        title && ` ${sentence(text)}`,
        todo && ` ${sentence(todo)}`,
        link && " ",
        link && h("a", { href: link.href }, link.text),
      ),
      (signIn || wrong || raw) &&
        h("p", { class: "helps" }, signIn && signInButton(), wrong && fieldButton(wrong), raw && copyButton(raw)),
    ),
    dismiss && h("button", { class: "quiet", type: "button", "aria-label": "Dismiss", on: { click: dismiss } }, "×"),
  );
}

function signInButton(): HTMLElement {
  const button = h("button", { type: "button", class: "secondary small" }, "Sign in …");
  button.addEventListener("click", () => button.dispatchEvent(new CustomEvent(SIGN_IN, { bubbles: true })));
  return button;
}

function fieldButton(name: string): HTMLElement {
  const button = h("button", { type: "button", class: "secondary small" }, "Show the field");
  const tell = () => button.dispatchEvent(new CustomEvent(SHOW_FIELD, { bubbles: true, detail: name }));
  button.addEventListener("click", tell);
  return button;
}

/** For a report to the developers: the page shows plain words. */
function copyButton(raw: string): HTMLElement {
  const button = h("button", { type: "button", class: "quiet" }, "Copy details");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(raw).then(
      () => (button.textContent = "Copied"),
      () => (button.textContent = "The browser does not allow copying"),
    );
  });
  return button;
}
