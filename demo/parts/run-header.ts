import type { RunStatus } from "../../src/client/types.ts";
import { formatTime } from "../../src/text/times.ts";
import type { App } from "../app.ts";
import { h, setIdle, setText } from "../dom.ts";
import type { Activity, Run } from "../run.ts";
import { runActions } from "../runs/actions.ts";
import { confirm } from "./dialog.ts";

/** A run's status in a few words. */
const STATUS_WORDS: Record<RunStatus, string> = {
  ready: "not started",
  running: "in another tab",
  paused: "paused",
  stopped: "stopped",
  failed: "failed",
  finished: "finished",
};
/** Words for a status. @param folder the run is one of the command line, in a folder that was read once */
export function statusWords(status: RunStatus, folder: boolean): string {
  return folder && status === "running" ? "not finished when read" : STATUS_WORDS[status];
}

const ACTIVITY_WORDS: Record<Exclude<Activity, "idle">, string> = {
  working: "training",
  pausing: "pausing after this step …",
  stopping: "stopping after this step …",
};

/** Name, status and controls of a run, and links between its training and result pages. */
export function runHeader(app: App, run: Run, here: "training" | "result", signal: AbortSignal): HTMLElement {
  const path = `#/runs/${encodeURIComponent(run.id)}`;
  const { record } = run;
  const status = h("span", { class: "status" });
  const about = h("p", { class: "about" }, `${record.model} · ${record.data} · ${formatTime(record.created)}`);
  const tab = (name: string, href: string, on: boolean) => h("a", { href, "aria-current": on ? "page" : null }, name);
  const act = (name: string, className: string, handler: () => void) =>
    h("button", { type: "button", class: className, on: { click: handler } }, name);
  const pause = act("Pause", "secondary", () => app.pause(run));
  const go = act("Go on", "primary", () => void app.train(run));
  const stop = act("Stop", "secondary", async () => {
    if (run.activity === "stopping") return;
    const sure = await confirm(
      "Stop this run permanently?",
      "The adapter is kept, and you can use and download it. A stopped run cannot continue later; pause it instead if you want to continue.",
      "Stop",
    );
    if (sure) void app.stop(run);
  });
  const actions = h("div", { class: "actions", hidden: run.readOnly }, go, pause, stop);

  run.watch(signal, () => {
    const { activity } = run;
    const focused = [go, pause, stop].find((button) => button === document.activeElement);
    const started = record.status !== "ready";
    setText(status, activity === "idle" ? statusWords(record.status, run.readOnly) : ACTIVITY_WORDS[activity]);
    status.dataset.status = activity === "idle" ? record.status : "training";
    const over = record.status === "finished" || record.status === "stopped";
    go.hidden = activity !== "idle" || over;
    setText(go, started ? "Go on" : "Train");
    pause.hidden = activity === "idle";
    setIdle(pause, activity !== "working");
    stop.hidden = over;
    setIdle(stop, activity === "stopping");
    // move the focus from a button that disappears
    if (focused?.hidden) [go, pause].find(({ hidden }) => !hidden)?.focus();
  });
  // without a GPU the run cannot continue
  app.device.watch(signal, (device) => {
    go.disabled = device.state === "missing";
  });
  return h(
    "header",
    { class: "run-header" },
    h("div", { class: "heading" }, h("h1", {}, record.name), status),
    about,
    h(
      "div",
      { class: "row" },
      h(
        "nav",
        { class: "tabs", "aria-label": "This run" },
        tab("Training", path, here === "training"),
        tab("Result", `${path}/result`, here === "result"),
      ),
      actions,
    ),
    !run.readOnly && runActions(app, run, signal),
  );
}
