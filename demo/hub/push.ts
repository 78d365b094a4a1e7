import type { App } from "../app.ts";
import { fill, h, setIdle } from "../dom.ts";
import { labelled } from "../parts/choice.ts";
import { problemLine } from "../parts/notice.ts";
import { progressBar } from "../parts/progress.ts";
import { problemOf } from "../problems.ts";
import type { Run } from "../run.ts";

/** Sends a run's adapter to the user's account on the hub. */
export function pushForm(app: App, run: Run, signal: AbortSignal): HTMLElement {
  const repo = h("input", { type: "text", placeholder: "owner/name", autocomplete: "off", spellcheck: "false" });
  const hidden = h("input", { type: "checkbox", checked: true });
  const button = h("button", { type: "submit", class: "secondary" }, "Push to the hub");
  const said = h("div", { role: "status" });
  let busy = false;
  const push = async () => {
    const name = repo.value.trim();
    if (!/^[\w][\w.-]*\/[\w][\w.-]*$/.test(name)) {
      fill(said, h("p", { class: "wrong" }, "Name the repository as owner/name, with your account as its owner."));
      repo.focus();
      return;
    }
    if (app.token.value === null) {
      const { signIn } = await import("./sign-in.ts");
      if (!(await signIn(app, "A push needs an access token with write access."))) return;
    }
    busy = true;
    setIdle(button, true);
    const bar = progressBar();
    fill(said, bar.element);
    bar.set({ what: "Collecting the files", done: 0, total: null });
    try {
      const request = { repo: name, private: hidden.checked, token: app.token.value! };
      for await (const event of app.trainer.push(run.id, request, { signal })) {
        if (event.type === "progress") bar.set(event);
        else
          fill(
            said,
            h(
              "p",
              { class: "right" },
              "Pushed: ",
              h("a", { href: event.url, target: "_blank", rel: "noreferrer" }, event.url),
            ),
          );
      }
    } catch (error) {
      if (!signal.aborted) fill(said, problemLine("error", problemOf(error)));
    }
    busy = false;
    setIdle(button, false);
  };
  const form = h(
    "form",
    { class: "push" },
    labelled(
      "Repository",
      repo,
      "Adapter, model card, recipes and metrics, in one commit. A missing repository is made.",
    ),
    h("div", { class: "field check" }, h("label", {}, hidden, "Private")),
    button,
    said,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!busy) void push();
  });
  return form;
}
