import type { Job, JobPlan, PhasePlan, WayOut } from "../../src/client/types.ts";
import { METHOD_NAMES } from "../../src/report/names.ts";
import { seriesClass } from "../../src/report/scale.ts";
import { formatBytes, formatFileSize } from "../../src/text/bytes.ts";
import { formatCount } from "../../src/text/numbers.ts";
import type { App } from "../app.ts";
import { type Child, fill, h, setText } from "../dom.ts";
import { words } from "../format.ts";
import { problemLine } from "../parts/notice.ts";
import { problemOf } from "../problems.ts";
import { aboutSeconds, ForecastMachine, type ForecastState, verdictOf } from "./machine.ts";

/** The forecast of a job, computed before any allocation. */
interface Forecast {
  element: HTMLElement;
  /** plans a job; a string says which choice is missing */
  update(job: Job | string): void;
}

/** What the start view does with a forecast. */
interface ForecastUse {
  /** receives each new state, for the bar at the bottom of a phone */
  shown(state: ForecastState): void;
  /** receives the plan of a job that can run, or null */
  ready(plan: JobPlan | null): void;
  /** makes a run that is too large fit */
  apply(way: WayOut): void;
}

export function forecast(app: App, signal: AbortSignal, use: ForecastUse): Forecast {
  const status = h("p", { class: "verdict", role: "status" });
  const work = h("p", { class: "about" }); // not announced: it changes several times a second
  const bar = h("progress", { max: 1, "aria-label": "The forecast is being worked out" });
  const body = h("div", { class: "plan-body" });
  const element = h("div", { class: "plan" }, status, work, bar, body);
  const machine = new ForecastMachine<Job>(
    (job, own) => app.trainer.forecast(job, { signal: own }),
    (state) => show(state),
  );
  signal.addEventListener("abort", () => machine.end(), { once: true });

  const show = (state: ForecastState) => {
    const plan = "plan" in state ? state.plan : null;
    const doing = "what" in state ? state.what : null;
    const share = "share" in state ? state.share : null;
    element.dataset.state = state.state;
    element.setAttribute("aria-busy", String(state.state === "working"));
    const verdict = plan ? verdictOf(plan) : "none";
    status.dataset.verdict = state.state === "working" ? "none" : verdict;
    setText(status, statusOf(state));
    setText(work, doing === null ? "" : `${capital(doing)} …`);
    work.hidden = doing === null;
    bar.hidden = doing === null;
    if (share === null) bar.removeAttribute("value");
    else bar.value = share;
    if (state.state === "missing") fill(body);
    else if (state.state === "wrong") fill(body, problemLine("error", problemOf(state.error)));
    else fill(body, ...describe(app, plan, doing, (way) => use.apply(way)));
    use.shown(state);
    use.ready(plan?.fits ? plan : null);
  };

  return {
    element,
    update(job) {
      machine.update(job);
    },
  };
}

const VERDICTS = {
  fits: "It fits.",
  tight: "It fits, but only just: close other programs that use the GPU.",
  large: "Too large for this machine.",
  cannot: "It cannot run like this.",
  unknown: "It fits this browser's limits. Browsers do not say how much memory the GPU has.",
};

function statusOf(state: ForecastState): string {
  if (state.state === "missing") return state.text;
  if (state.state === "wrong") return "The forecast failed.";
  return state.state === "working" ? "" : VERDICTS[verdictOf(state.plan)];
}

/** @param plan null: nothing of this draft is known yet, so each figure has a placeholder */
function describe(app: App, plan: JobPlan | null, doing: string | null, apply: (way: WayOut) => void): Child[] {
  const about = plan !== null && !plan.exact;
  if (plan === null) return [figures(null, doing)];
  const { phases, fits, ways } = plan;
  const device = app.device.value;
  const limits = device.state === "ready" ? device.info.limits : null;
  const most = Math.max(...phases.map(({ memory }) => memory.peak), 1);
  const notes = [...new Set(phases.flatMap((phase) => phase.notes))];
  return [
    !fits && problemLine("error", problemOf(errorOf(plan))),
    ways.length > 0 && waysOut(ways, apply),
    figures(plan, doing),
    ...phases.map((phase) => phaseBox(phase, most, phases.length > 1, about)),
    limits && h("p", { class: "about" }, `Largest buffer here: ${formatBytes(limits.maxBufferSize)}.`),
    notes.length > 0 && h("ul", { class: "notes" }, ...notes.map((note) => h("li", {}, note))),
  ];
}

/** Why a job cannot run, as the error that the worker has met. */
function errorOf({ problem, error }: JobPlan): Error {
  return Object.assign(new Error(problem ?? "This run does not fit on this machine"), { name: error ?? "MemoryError" });
}

/** Each way out as a button that sets its fields. */
function waysOut(ways: readonly WayOut[], apply: (way: WayOut) => void): HTMLElement {
  const button = (way: WayOut) =>
    h(
      "button",
      { type: "button", class: "secondary", on: { click: () => apply(way) } },
      capital(way.text),
      h("small", {}, ` ${formatBytes(way.peak)}`),
    );
  return h("div", { class: "ways" }, h("p", {}, "It fits with:"), ...ways.map(button));
}

/** Memory, download, disk and time. @param plan null: placeholders */
function figures(plan: JobPlan | null, doing: string | null): HTMLElement {
  const unknown = "…";
  const later = doing === null ? "unknown" : unknown;
  const rows: (readonly [name: string, value: string, detail: string | null])[] = [
    ["GPU memory", plan ? peakText(plan) : unknown, null],
    ["Time", plan?.time ? aboutSeconds(plan.time.seconds) : later, plan ? timeDetail(plan) : null],
    ["To download", plan ? downloadText(plan.download, later) : unknown, null],
    ["Disk", plan?.disk ? formatFileSize(plan.disk.run) : later, plan?.disk ? diskDetail(plan.disk) : null],
  ];
  return h(
    "dl",
    { class: "plan-figures" },
    ...rows.map(([name, value, detail]) =>
      h(
        "div",
        { class: value === unknown ? "waiting" : plan && !plan.exact ? "quick" : null },
        h("dt", {}, name),
        h("dd", {}, value, detail && h("small", {}, detail)),
      ),
    ),
  );
}

function peakText({ phases, available }: JobPlan): string {
  if (phases.length === 0) return "unknown";
  const peak = formatBytes(Math.max(...phases.map(({ memory }) => memory.peak)));
  return available === null ? peak : `${peak} of ${formatBytes(available)}`;
}

function downloadText(bytes: number | null, later: string): string {
  if (bytes === null) return later;
  return bytes === 0 ? "nothing" : formatFileSize(bytes);
}

function diskDetail({ run, free }: { run: number; free: number }): string {
  return run > free ? `only ${formatFileSize(free)} free` : `of ${formatFileSize(free)} free`;
}

const BASIS = {
  measurement: "from a measurement of this GPU",
  method: "from this GPU's earlier runs",
  model: "from earlier runs of this model",
};

function timeDetail({ time, phases }: JobPlan): string | null {
  if (!time) return null;
  const parts = time.phases.map((seconds, i) => `${METHOD_NAMES[phases[i].method]} ${short(seconds)}`);
  if (time.heldOut > 0) parts.push(`held-out problems ${short(time.heldOut)}`);
  return `${parts.join(", ")}; ${BASIS[time.basis]}`;
}

const short = (seconds: number) => aboutSeconds(seconds).replace(/^about /, "");

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Peak memory of a phase as a bar by category, with its number of steps and parameters. */
function phaseBox(
  { method, memory, max_steps, rows, trainable, parameters }: PhasePlan,
  most: number,
  several: boolean,
  about: boolean,
): HTMLElement {
  const kinds = Object.entries(memory.byKind)
    .filter(([, bytes]) => bytes > 0)
    .sort(([, a], [, b]) => b - a);
  const bar = h("div", { class: "bar-stack", "aria-hidden": "true" });
  kinds.forEach(([, bytes], i) => {
    const part = h("i", { class: seriesClass(i) });
    part.style.width = `${(100 * bytes) / most}%`;
    bar.append(part);
  });
  const over = rows > 0 ? ` over ${formatCount(rows)} rows` : "";
  return h(
    "section",
    { class: about ? "phase-plan quick" : "phase-plan" },
    h("h3", {}, several && `${METHOD_NAMES[method]}: `, h("b", {}, formatBytes(memory.peak)), " of GPU memory"),
    bar,
    h(
      "ul",
      { class: "kinds" },
      ...kinds.map(([kind, bytes], i) =>
        h(
          "li",
          { class: seriesClass(i) },
          h("i", { "aria-hidden": "true" }),
          `${words(kind)} `,
          h("b", {}, formatBytes(bytes)),
        ),
      ),
    ),
    h(
      "p",
      { class: "about" },
      `${formatCount(max_steps)} steps${over}; ${formatCount(trainable)} of ${formatCount(parameters)} parameters trained.`,
    ),
  );
}
