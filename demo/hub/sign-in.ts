import type { App } from "../app.ts";
import { fill, h, uid } from "../dom.ts";
import { labelled } from "../parts/choice.ts";

/**
 * Asks for an access token of the hub, which stays in this tab's memory.
 *
 * @param why what it is for
 * @returns whether there is one now
 */
export function signIn(app: App, why: string): Promise<boolean> {
  const [title, text] = [uid("sign-in"), uid("detail")];
  const token = h("input", { type: "password", autocomplete: "off", spellcheck: "false", placeholder: "hf_…" });
  const fault = h("p", { class: "wrong", role: "alert" });
  return new Promise((decide) => {
    // not of type submit, so that Enter in the field signs in
    const leave = (text: string, value: string) =>
      h("button", { type: "button", class: "secondary", on: { click: () => dialog.close(value) } }, text);
    const form = h(
      "form",
      { method: "dialog" },
      labelled("Access token", token),
      fault,
      h(
        "div",
        { class: "actions" },
        leave("Cancel", "no"),
        app.token.value !== null && leave("Sign out", "out"),
        h("button", { value: "yes", class: "primary" }, "Sign in"),
      ),
    );
    const dialog = h(
      "dialog",
      { class: "confirm", "aria-labelledby": title, "aria-describedby": text },
      h("h2", { id: title }, "Sign in to Hugging Face"),
      h(
        "p",
        { id: text },
        `${why} Make a token at `,
        h(
          "a",
          { href: "https://huggingface.co/settings/tokens", target: "_blank", rel: "noreferrer" },
          "huggingface.co/settings/tokens",
        ),
        ". It stays in this tab's memory until you close or reload it, and is sent to the hub only.",
      ),
      form,
    );
    form.addEventListener("submit", (event) => {
      if (/^hf_[\x21-\x7e]+$/.test(token.value.trim())) return;
      event.preventDefault();
      fill(fault, "A token begins with hf_ and has no spaces.");
      token.focus();
    });
    dialog.addEventListener("close", () => {
      if (dialog.returnValue === "yes") app.signIn(token.value.trim());
      if (dialog.returnValue === "out") app.signIn(null);
      token.value = "";
      dialog.remove();
      decide(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
    token.focus();
  });
}
