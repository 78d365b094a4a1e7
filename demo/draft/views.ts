import { messageOf } from "../../src/text/show.ts";
import type { App } from "../app.ts";
import { startView } from "../views/start.ts";
import type { View } from "../views/view.ts";
import { draftOfLink } from "./link.ts";

/** The start view with the recipe of a link. Nothing starts by itself, and the user's own choices can be brought back. */
export function linkedView(text: string) {
  return async (app: App, signal: AbortSignal): Promise<View> => {
    try {
      const draft = draftOfLink(text);
      app.replaced = app.draft ?? (await app.drafts.load())?.draft ?? null;
      app.draft = draft;
      app.notify({
        id: "link",
        kind: "info",
        text: "A link filled in these choices. Look at them before you train: nothing has started.",
        todo: null,
        link: app.replaced ? { text: "Bring back my own choices", href: "#/my-choices" } : null,
      });
    } catch (error) {
      app.notify({ id: "link", kind: "error", text: messageOf(error), todo: null, link: null });
    }
    history.replaceState(null, "", "#/"); // a reload keeps later edits
    return startView(app, signal);
  };
}

/** The start view with the choices from before a link was opened. */
export async function restoredView(app: App, signal: AbortSignal): Promise<View> {
  if (app.replaced) app.draft = app.replaced;
  app.replaced = null;
  history.replaceState(null, "", "#/");
  return startView(app, signal);
}
