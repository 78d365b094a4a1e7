import type { SavedStep } from "../../src/client/types.ts";
import { METHOD_NAMES } from "../../src/report/names.ts";
import { formatNumber } from "../../src/text/numbers.ts";
import type { App } from "../app.ts";
import { fill, h, setIdle } from "../dom.ts";
import { confirm } from "../parts/dialog.ts";
import { problemLine } from "../parts/notice.ts";
import { progressBar } from "../parts/progress.ts";
import { problemOf } from "../problems.ts";
import { keepModulesOf } from "../reward/shelf.ts";
import type { Run } from "../run.ts";
import { saveFile } from "../save-file.ts";
import { begin } from "../start/begin.ts";
import { draftOfJob } from "./draft-of-job.ts";

/** What one may do with a run beside going on with it: train it again, change it, continue from its adapter, evaluate it. */
export function runActions(app: App, run: Run, signal: AbortSignal): HTMLElement {
  const said = h("div", { class: "said" });
  const choices = h("div", { class: "saved-steps" });
  const button = (text: string, act: () => Promise<void> | void) => {
    const made = h("button", { type: "button", class: "secondary" }, text);
    made.addEventListener("click", async () => {
      if (made.getAttribute("aria-disabled") === "true") return;
      try {
        await act();
      } catch (error) {
        fill(said, problemLine("error", problemOf(error)));
      }
    });
    return made;
  };
  const { record } = run;
  const showDraft = (continues: boolean) => {
    keepModulesOf(record.job);
    app.replaced = app.draft;
    app.draft = draftOfJob(record.job, continues ? { id: run.id, name: record.name } : null);
    location.hash = "#/";
  };
  const again = button("Train again", () => begin(app, record.job));
  const change = button("Change and train", () => showDraft(false));
  const go = button("Continue from this adapter", () => showDraft(true));
  const evaluate = button("Evaluate now", () => offerSteps());
  const pack = button("Export this run", async () => saveFile(await app.trainer.runs.pack(run.id)));
  const stop = button("Stop and evaluate", () => stopAndEvaluate());

  const solve = async (at?: SavedStep) => {
    fill(choices);
    const bar = progressBar();
    const end = new AbortController();
    const cancel = h("button", { type: "button", class: "secondary", on: { click: () => end.abort() } }, "Cancel");
    fill(said, bar.element, cancel);
    setIdle(evaluate, true);
    try {
      const own = AbortSignal.any([signal, end.signal]);
      for await (const event of app.trainer.runs.evaluate(run.id, { signal: own, at })) {
        if (event.type === "progress") bar.set(event);
        else run.take(event);
      }
      fill(said, h("p", { class: "right", role: "status" }, "Evaluated. The result page compares the answers."));
    } catch (error) {
      if (end.signal.aborted) fill(said);
      else if (!signal.aborted) fill(said, problemLine("error", problemOf(error)));
    }
    setIdle(evaluate, false);
  };
  /** One saved state is evaluated at once; of several, the user chooses. */
  const offerSteps = async () => {
    const saved = await app.trainer.runs.saved(run.id);
    if (saved.length < 2) return solve(saved[0]);
    const offer = ({ phase, step }: SavedStep) =>
      button(`${METHOD_NAMES[record.phases[phase].method]}, step ${formatNumber(step)}`, () => solve({ phase, step }));
    fill(choices, h("p", {}, "Which state?"), ...saved.map(offer));
    choices.querySelector("button")?.focus();
  };
  const stopAndEvaluate = async () => {
    const sure = await confirm(
      "Stop this run and evaluate it?",
      "The run ends after this step, and its held-out problems are solved with the adapter so far. A stopped run cannot continue later.",
      "Stop and evaluate",
    );
    if (!sure) return;
    const over = new AbortController();
    await app.stop(run);
    run.watch(over.signal, () => {
      if (run.activity !== "idle" || record.status !== "stopped" || over.signal.aborted) return;
      over.abort();
      if (!signal.aborted) void solve();
    });
  };

  run.watch(signal, () => {
    const busy = run.activity !== "idle" || record.status === "running";
    const started = record.phases.some(({ global_step }) => global_step > 0);
    const solvable = record.job.evaluate !== null;
    again.hidden = busy;
    go.hidden = busy || !started;
    pack.hidden = busy;
    evaluate.hidden = busy || !started || !solvable;
    stop.hidden = run.activity !== "working" || !solvable;
  });
  const list = h("div", { class: "actions" }, stop, evaluate, again, change, go, pack);
  return h("details", { class: "more run-more" }, h("summary", {}, "More"), list, choices, said);
}
