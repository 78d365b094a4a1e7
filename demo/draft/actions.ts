import type { Method } from "../../src/client/types.ts";
import type { App } from "../app.ts";
import { fill, h } from "../dom.ts";
import type { Draft } from "../jobs.ts";
import { linkOf } from "./link.ts";

/** Buttons beside the heading of the choices: a link to them, and a reset. */
export function draftActions(app: App, draft: Draft, methods: () => readonly Method[]): HTMLElement {
  const said = h("p", { class: "about", role: "status" });
  const copy = async () => {
    const hash = linkOf(draft, methods());
    if (hash === null) return fill(said, "This recipe is too long for a link. Save it as a file under “As YAML”.");
    const address = new URL(hash, location.href).href;
    try {
      await navigator.clipboard.writeText(address);
      fill(
        said,
        "Copied. The link holds the recipe, and never files or keys; whoever opens it starts the run themselves.",
      );
    } catch {
      const field = h("input", { type: "text", readonly: true, value: address, "aria-label": "Link to this recipe" });
      fill(said, field); // the browser refuses the clipboard
      field.select();
    }
  };
  const reset = () => {
    app.drafts.clear();
    app.replaced = draft;
    app.draft = null;
    app.notify({
      id: "link",
      kind: "info",
      text: "All choices are as at first.",
      todo: null,
      link: { text: "Bring back my own choices", href: "#/my-choices" },
    });
    dispatchEvent(new HashChangeEvent("hashchange")); // shows the view again
  };
  const button = (text: string, act: () => void) =>
    h("button", { type: "button", class: "secondary", on: { click: act } }, text);
  const { continues = null } = draft;
  const from = continues && h("p", { class: "about" }, `Continues from the adapter of “${continues.name}”. `);
  const afresh = button("Start with a new adapter", () => {
    draft.continues = null;
    app.drafts.save(draft);
    dispatchEvent(new HashChangeEvent("hashchange"));
  });
  return h(
    "div",
    { class: "draft-actions" },
    from,
    from && afresh,
    button("Copy a link", () => void copy()),
    button("Reset", reset),
    said,
  );
}
