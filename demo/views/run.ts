import type { Evaluation } from "../../src/client/types.ts";
import { inOrder, METHOD_NAMES, stageName } from "../../src/report/names.ts";
import { counted, formatNumber, formatShare } from "../../src/text/numbers.ts";
import { type Child, fill, h } from "../dom.ts";
import { plainWords } from "../errors/words.ts";
import { completions } from "../parts/completions.ts";
import { problemLine } from "../parts/notice.ts";
import { phaseCharts } from "../parts/run-charts.ts";
import { runHeader } from "../parts/run-header.ts";
import { stages } from "../parts/stages.ts";
import { judgeKeyLine } from "../reward/key-line.ts";
import type { Run } from "../run.ts";
import { answersNow } from "../watch/answers.ts";
import type { ShowView } from "./view.ts";

/** A run in training: its progress, curves and completions. */
export function runView(id: string): ShowView {
  return async (app, signal) => {
    const run = await app.open(id);
    const { record } = run;
    const charts = h("div");
    let shownPhase = -1;
    run.watch(signal, () => {
      if (record.phase === shownPhase) return;
      if (shownPhase >= 0) app.announce(`${METHOD_NAMES[record.phases[record.phase].method]} begins.`);
      shownPhase = record.phase;
      fill(charts, ...phases(run, signal));
    });
    const element = h(
      "div",
      { class: "view run" },
      runHeader(app, run, "training", signal),
      outcome(run, signal),
      judgeKeyLine(run, signal),
      stages(run, signal),
      answersNow(run, signal),
      remarks(run, signal),
      charts,
      completions(run, signal),
    );
    return { title: record.name, element };
  };
}

/** The current phase's curves, with earlier phases collapsed. */
function phases(run: Run, signal: AbortSignal): Child[] {
  const { record } = run;
  const present = Math.min(record.phase, record.phases.length - 1);
  const title = (i: number) =>
    `${METHOD_NAMES[record.phases[i].method]}${record.phases.length > 1 ? `, phase ${i + 1}` : ""}`;
  const earlier = record.phases
    .slice(0, present)
    .map((_, i) => i)
    .reverse();
  return [
    h("section", { class: "curves" }, h("h2", {}, title(present)), phaseCharts(run, present, signal)),
    ...earlier.map((i) =>
      h("details", { class: "curves earlier" }, h("summary", {}, title(i)), phaseCharts(run, i, signal)),
    ),
  ];
}

/** The run's problem, or a link to its result. */
function outcome(run: Run, signal: AbortSignal): HTMLElement {
  const problem = h("div");
  const done = h("div");
  let [said, ended]: [string | null, boolean] = [null, false];
  run.watch(signal, () => {
    const { record, activity } = run;
    const kept =
      record.problem !== null && activity === "idle"
        ? { text: plainWords(record.problem), todo: null, link: null }
        : null;
    const now = run.problem ?? kept;
    if ((now?.text ?? null) !== said) {
      said = now?.text ?? null;
      fill(problem, now && problemLine("error", now));
    }
    const over = activity === "idle" && (record.status === "finished" || record.status === "stopped");
    if (over === ended) return;
    ended = over;
    fill(done, over && resultBanner(run));
  });
  return h("div", { class: "messages" }, done, problem);
}

/** Remarks about the run, collapsed if there are many. */
function remarks(run: Run, signal: AbortSignal): HTMLElement {
  const list = h("ul", { class: "notes" });
  const count = h("summary");
  const element = h("details", { class: "remarks", open: true }, count, list);
  let shown = -1;
  run.watch(signal, () => {
    if (run.remarks.length === shown) return;
    shown = run.remarks.length;
    element.hidden = shown === 0;
    fill(count, counted(shown, "remark"));
    fill(list, ...run.remarks.map(({ kind, text }) => h("li", { class: kind }, plainWords(text))));
    if (shown === 4) element.open = false;
  });
  return element;
}

/** The step that a figure was measured at, unless its label says it. */
function stepsOf({ phases }: Run["record"], { phase, step }: Evaluation): string {
  return step === undefined ? ` (step ${formatNumber(phases[phase].global_step)})` : "";
}

function resultBanner({ id, record }: Run): HTMLElement {
  const all = inOrder(record.evaluations);
  const [first, last] = [all[0], all.at(-1)];
  const text =
    first && last && first !== last
      ? `The model solved ${formatShare(first.accuracy)} of ${first.problems.length} held-out problems ${stageName(first)}, and ${formatShare(last.accuracy)} ${stageName(last)}${stepsOf(record, last)}.`
      : "The adapter is kept.";
  return h(
    "div",
    { class: "banner" },
    h("p", {}, h("strong", {}, record.status === "finished" ? "Finished." : "Stopped."), ` ${text}`),
    h("a", { class: "button primary", href: `#/runs/${encodeURIComponent(id)}/result` }, "See the result"),
  );
}
