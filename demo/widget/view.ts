import { inOrder, METHOD_NAMES, stageName } from "../../src/report/names.ts";
import { formatShare } from "../../src/text/numbers.ts";
import { formatSeconds } from "../../src/text/times.ts";
import { fill, h, setIdle, setText } from "../dom.ts";
import { progressBar } from "../parts/progress.ts";
import { phaseCharts } from "../parts/run-charts.ts";
import type { Run } from "../run.ts";
import { saveFile } from "../save-file.ts";
import charts from "../styles/charts.css?inline";
import type { Host, WidgetState, WidgetStatus } from "./host.ts";
import { followTheme } from "./theme.ts";
import styles from "./widget.css?inline";

const WORDS: Record<WidgetStatus, string> = {
  idle: "not started",
  running: "training",
  pausing: "pausing after this step …",
  stopping: "stopping after this step …",
  paused: "paused",
  stopped: "stopped",
  failed: "failed",
  finished: "finished",
};

/** One view of a trainer: status, controls and curves, isolated from the notebook's styles. */
export function showWidget(el: HTMLElement, host: Host, signal: AbortSignal): void {
  const frame = h("div");
  const shadow = frame.attachShadow({ mode: "open" });
  const sheets = [charts, styles].map((text) => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(text);
    return sheet;
  });
  shadow.adoptedStyleSheets = sheets;
  followTheme(frame, signal);

  const name = h("strong", {});
  const status = h("span", { class: "status", role: "status" });
  const problem = h("p", { class: "problem", role: "alert" });
  const about = h("div", { class: "run" });
  shadow.append(
    h(
      "section",
      { class: "widget", "aria-label": "Qwench trainer" },
      h("header", {}, h("span", { class: "heading" }, name, status), controls(host, signal)),
      problem,
      about,
    ),
  );
  el.append(frame);
  signal.addEventListener("abort", () => frame.remove(), { once: true });

  let shown: Run | null = null;
  let inside = new AbortController();
  signal.addEventListener("abort", () => inside.abort(), { once: true });
  host.state.watch(signal, ({ status: word, problem: text, run }) => {
    setText(name, run?.record.name ?? "Qwench");
    setText(status, WORDS[word]);
    status.dataset.status = word;
    setText(problem, text);
    problem.hidden = text === "";
    if (run === shown) return;
    inside.abort();
    inside = new AbortController();
    shown = run;
    fill(about, run && runView(run, host, inside.signal));
  });
}

function controls(host: Host, signal: AbortSignal): HTMLElement {
  const act = (text: string, title: string, handler: () => unknown) =>
    h(
      "button",
      {
        type: "button",
        title,
        on: {
          click: ({ currentTarget }) => {
            if ((currentTarget as HTMLElement).ariaDisabled === "true") return;
            void Promise.resolve(handler()).catch((error) => host.complain(error));
          },
        },
      },
      text,
    );
  const go = act("Train", "Trains the job from Python", () => host.start());
  const pause = act("Pause", "Pauses after this step with a checkpoint", () => host.pause());
  const stop = act("Stop", "Ends the run permanently and keeps the adapter", () => host.stop());
  const save = act("Download adapter", "The PEFT adapter as a zip", async () => saveFile(await host.adapter()));
  go.classList.add("primary");
  const enabled = (state: WidgetState, button: HTMLElement) => {
    if (button === go) return !busy(state);
    if (button === pause) return state.status === "running";
    if (button === stop) return busy(state) ? state.status !== "stopping" : ["paused", "failed"].includes(state.status);
    return !busy(state) && state.run !== null && state.run.record.phases.some(({ global_step }) => global_step > 0);
  };
  host.state.watch(signal, (state) => {
    setText(go, ["paused", "failed"].includes(state.status) && state.run ? "Go on" : "Train");
    for (const button of [go, pause, stop, save]) setIdle(button, !enabled(state, button));
  });
  return h("span", { class: "actions" }, go, pause, stop, save);
}

const busy = ({ status }: WidgetState) => ["running", "pausing", "stopping"].includes(status);

/** A run's progress, scores, curves and remarks. */
function runView(run: Run, host: Host, signal: AbortSignal): HTMLElement {
  const { record } = run;
  const bar = progressBar();
  const where = h("p", { class: "about" });
  const solved = h("p", { class: "about" });
  const notes = h("ul", { class: "notes", "aria-label": "Notes" });
  const phases = h("div", { class: "phases" });
  const begun = new Set<number>();
  const show = () => {
    const active = busy(host.state.value);
    bar.element.hidden = !active;
    if (run.progress) bar.set(run.progress);
    else bar.set({ what: "all phases", done: Math.round(100 * run.share()), total: 100, unit: "%" });
    const { method, max_steps, global_step } = record.phases[record.phase];
    const left = active ? run.secondsLeft() : null;
    const steps = max_steps === null ? "" : `: step ${global_step} of ${max_steps}`;
    setText(where, `${METHOD_NAMES[method]}${steps}${left === null ? "" : `, ${formatSeconds(left)} left`}`);
    const shares = inOrder(record.evaluations).map((made) => `${stageName(made)} ${formatShare(made.accuracy)}`);
    setText(solved, shares.length > 0 ? `Held-out problems solved: ${shares.join(", ")}` : "");
    solved.hidden = shares.length === 0;
    if (notes.childElementCount !== run.remarks.length) {
      fill(notes, ...run.remarks.map(({ kind, text }) => h("li", { class: kind }, text)));
    }
    notes.hidden = run.remarks.length === 0;
    for (const [phase, { method: name }] of record.phases.entries()) {
      if (begun.has(phase) || !(record.logs[phase]?.length > 0)) continue;
      begun.add(phase);
      for (const earlier of phases.querySelectorAll<HTMLDetailsElement>(":scope > details")) earlier.open = false;
      const title = h("summary", {}, h("h2", {}, METHOD_NAMES[name]));
      phases.append(h("details", { open: true }, title, phaseCharts(run, phase, signal)));
    }
  };
  run.watch(signal, show);
  host.state.watch(signal, show);
  return h("div", {}, bar.element, where, solved, phases, notes);
}
