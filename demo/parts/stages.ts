import { inOrder, METHOD_NAMES } from "../../src/report/names.ts";
import { formatNumber, formatShare } from "../../src/text/numbers.ts";
import { fill, h, setText } from "../dom.ts";
import type { Run } from "../run.ts";
import { keepPaces, leftText, type Paces, partsLeft, storedPaces } from "../watch/time-left.ts";
import { progressBar } from "./progress.ts";

const AFTER = {
  kernels: "The kernels are compiled; the first step begins",
  bytes: "Getting the GPU ready; the first time takes longest",
  completions: "Learning from the completions",
  problems: "Grading the answers",
};

/**
 * A run's progress: its phases and evaluations in a row, the current activity, and the estimated time.
 *
 * @param paces of earlier runs; null: no times, because the run only plays
 */
export function stages(run: Run, signal: AbortSignal, paces: Paces | null = storedPaces()): HTMLElement {
  const { record } = run;
  const list = h("ol", { class: "stages" });
  const bar = progressBar(AFTER);
  const left = h("p", { class: "left" });

  const solved = (phase: number) => {
    const found = inOrder(record.evaluations).find((one) => (one.stage === "base" ? -1 : one.phase) === phase);
    return found ? formatShare(found.accuracy) : null;
  };
  const item = (title: string, detail: string, share: number, current: boolean) => {
    const fillBar = h("i");
    fillBar.style.width = `${100 * share}%`;
    return h(
      "li",
      { class: share >= 1 ? "done" : current ? "current" : null, "aria-current": current ? "step" : null },
      h("span", { class: "title" }, title),
      h("span", { class: "about" }, detail),
      h("span", { class: "track", "aria-hidden": "true" }, fillBar),
    );
  };

  const show = () => {
    const evaluates = record.job.evaluate !== null;
    const working = run.activity !== "idle";
    const items: HTMLElement[] = [];
    const begun = record.phases.some(({ global_step }) => global_step > 0);
    if (evaluates) {
      const share = solved(-1);
      items.push(item("Before", share ? `${share} right` : "to be solved", share ? 1 : 0, working && !share && !begun));
    }
    record.phases.forEach(({ method, max_steps, global_step }, i) => {
      const share = max_steps ? Math.min(1, global_step / max_steps) : 0;
      const after = evaluates ? solved(i) : null;
      const detail = [
        max_steps ? `step ${formatNumber(global_step)} of ${formatNumber(max_steps)}` : "steps to be planned",
        after && `${after} right`,
      ];
      const current = working && i === record.phase && share < 1 && (!evaluates || solved(-1) !== null || begun);
      items.push(item(METHOD_NAMES[method], detail.filter(Boolean).join(", "), share, current));
    });
    fill(list, ...items);
    if (run.progress) bar.set(run.progress);
    bar.element.hidden = !(working && run.progress);
    left.hidden = !working || !paces;
    if (!working || !paces) return;
    setText(left, leftText(partsLeft(run, paces)));
  };
  run.watch(signal, show);
  const clock = setInterval(show, 1000);
  let kept = "";
  run.watch(signal, () => {
    // once a phase is measured, and at its end
    const { max_steps, global_step } = record.phases[record.phase] ?? {};
    const state = `${record.phase} ${run.stepSeconds() !== null} ${global_step === max_steps} ${record.evaluations.length}`;
    if (paces && state !== kept && run.activity !== "idle") keepPaces(run, paces);
    kept = state;
  });
  signal.addEventListener("abort", () => clearInterval(clock), { once: true });
  return h(
    "section",
    { class: "progress-box", "aria-label": "Progress" },
    list,
    h("div", { class: "now" }, bar.element, left),
  );
}
