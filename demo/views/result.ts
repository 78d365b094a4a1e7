import { runChat } from "../chat/run-chat.ts";
import { fill, h } from "../dom.ts";
import { comparison } from "../parts/comparison.ts";
import { downloads } from "../parts/downloads.ts";
import { runHeader } from "../parts/run-header.ts";
import { runModules } from "../reward/run-modules.ts";
import type { ShowView } from "./view.ts";

/** A run's result: the comparison before and after, a chat, and downloads. */
export function resultView(id: string): ShowView {
  return async (app, signal) => {
    const run = await app.open(id);
    if (run.readOnly) return (await import("../runs/figures.ts")).runFigures(app, run, signal);
    const recipes = h("div");
    const details = h("details", { class: "more" }, h("summary", {}, "Recipes of this run"), recipes);
    fill(
      recipes,
      ...run.record.recipes.map((yaml) => h("pre", { tabindex: "0" }, yaml)),
      ...runModules(run.record.job),
    );
    details.hidden = run.record.recipes.length === 0;
    const element = h(
      "div",
      { class: "view result" },
      runHeader(app, run, "result", signal),
      comparison(run, signal),
      runChat(app, run, signal),
      downloads(app, run, signal),
      details,
    );
    return { title: `${run.record.name}, result`, element };
  };
}
