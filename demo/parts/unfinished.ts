import type { RunSummary } from "../../src/client/types.ts";
import { METHOD_NAMES } from "../../src/report/names.ts";
import type { App } from "../app.ts";
import { fill, h } from "../dom.ts";

const MOST = 2;

/** Runs that were paused or interrupted by a crash or a closed tab, and can continue. */
export function unfinished(app: App, signal: AbortSignal): HTMLElement {
  const element = h("div", { class: "unfinished" });
  const line = (run: RunSummary) => {
    const { method, global_step, max_steps } = run.phases[run.phase] ?? run.phases[0];
    const where = `${METHOD_NAMES[method]} step ${global_step}${max_steps ? ` of ${max_steps}` : ""}`;
    const go = h("button", { type: "button", class: "secondary" }, "Go on");
    go.addEventListener("click", async () => {
      go.disabled = true;
      const opened = await app.open(run.id);
      void app.train(opened);
      location.hash = `#/runs/${encodeURIComponent(run.id)}`;
    });
    return h(
      "div",
      { class: "notice info" },
      h("p", {}, h("strong", {}, `“${run.name}” waits`), ` at ${where}.`),
      h("span", { class: "actions" }, go, h("a", { href: `#/runs/${encodeURIComponent(run.id)}` }, "Look at it")),
    );
  };
  app.active.watch(signal, async (active) => {
    const runs = await app.trainer.runs.list().catch((error) => {
      app.report("runs", error);
      return [];
    });
    const paused = runs.filter(({ id, status }) => status === "paused" && id !== active?.id);
    if (!signal.aborted)
      fill(
        element,
        ...paused
          .sort((a, b) => b.created - a.created)
          .slice(0, MOST)
          .map(line),
      );
  });
  return element;
}
