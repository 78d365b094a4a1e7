import { METHOD_NAMES } from "../../src/report/names.ts";
import { formatNumber } from "../../src/text/numbers.ts";
import { formatSeconds } from "../../src/text/times.ts";
import type { App } from "../app.ts";
import { fill, h } from "../dom.ts";
import { comparison } from "../parts/comparison.ts";
import { runHeader } from "../parts/run-header.ts";
import type { Run } from "../run.ts";
import type { ShowView, View } from "../views/view.ts";

/** A run's result as its folder has it. */
export function figuresView(id: string): ShowView {
  return async (app, signal) => runFigures(app, await app.open(id), signal);
}

/** The newest figures of a run that is only shown, its evaluations, and the recipe. */
export function runFigures(app: App, run: Run, signal: AbortSignal): View {
  const { record } = run;
  const figures = h("dl", { class: "figures" });
  const recipes = h("div");
  run.watch(signal, () => {
    const logs = record.logs[0] ?? [];
    const newest = (name: string) => logs.findLast((log) => typeof log[name] === "number")?.[name];
    const names = ["loss", "eval_loss", "reward", "eval_reward", "rewards/margins", "eval_rewards/accuracies"];
    const elapsed = newest("elapsed");
    const rows: [string, string][] = [
      ["Method", METHOD_NAMES[record.phases[0].method]],
      ["Steps", formatNumber(record.phases[0].global_step)],
      ...(elapsed === undefined ? [] : [["Time", formatSeconds(elapsed)] as [string, string]]),
      ...names.flatMap((name): [string, string][] => {
        const value = newest(name);
        return value === undefined ? [] : [[name, formatNumber(value)]];
      }),
    ];
    fill(figures, ...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
    fill(recipes, ...record.recipes.map((yaml) => h("pre", { tabindex: "0" }, yaml)));
  });
  const element = h(
    "div",
    { class: "view result" },
    runHeader(app, run, "result", signal),
    h("section", { "aria-labelledby": "figures-title" }, h("h2", { id: "figures-title" }, "Newest figures"), figures),
    record.evaluations.length > 0 && comparison(run, signal),
    h("section", { "aria-labelledby": "recipe-title" }, h("h2", { id: "recipe-title" }, "Recipe"), recipes),
  );
  return { title: `${record.name}, result`, element };
}
