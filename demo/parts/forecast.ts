import type { Job, JobPlan, PhasePlan } from "../../src/client/types.ts";
import { METHOD_NAMES } from "../../src/report/names.ts";
import { seriesClass } from "../../src/report/scale.ts";
import { formatBytes, formatFileSize } from "../../src/text/bytes.ts";
import { formatCount } from "../../src/text/numbers.ts";
import type { App } from "../app.ts";
import { settled } from "../cell.ts";
import { type Child, fill, h } from "../dom.ts";
import { words } from "../format.ts";
import { problemOf } from "../problems.ts";
import { problemLine } from "./notice.ts";

/** The forecast of a job, computed before any allocation. */
interface Forecast {
  element: HTMLElement;
  /** plans a job; a string says which choice is missing */
  update(job: Job | string): void;
}

/** @param ready receives whether the job can run */
export function forecast(app: App, signal: AbortSignal, ready: (plan: JobPlan | null) => void): Forecast {
  const body = h("div", { class: "plan", "aria-live": "polite" });
  let stop = new AbortController();

  const plan = async (job: Job) => {
    stop.abort();
    stop = new AbortController();
    const own = stop;
    signal.addEventListener("abort", () => own.abort(), { once: true });
    try {
      const made = await app.trainer.plan(job, { signal: own.signal });
      if (own.signal.aborted) return;
      fill(body, ...describe(app, made));
      ready(made.fits ? made : null);
    } catch (error) {
      if (own.signal.aborted) return;
      fill(body, problemLine("error", problemOf(error)));
      ready(null);
    }
  };
  const planSoon = settled(250, signal, (job: Job) => void plan(job));

  return {
    element: body,
    update(job) {
      ready(null);
      stop.abort();
      if (typeof job === "string") {
        fill(body, h("p", { class: "about" }, job));
        planSoon.cancel();
        return;
      }
      if (!body.hasChildNodes()) fill(body, h("p", { class: "about" }, "Computing the forecast …"));
      planSoon(job);
    },
  };
}

function describe(app: App, { phases, fits, problem, download }: JobPlan): Child[] {
  const device = app.device.value;
  const limits = device.state === "ready" ? device.info.limits : null;
  const most = Math.max(...phases.map(({ memory }) => memory.peak), 1);
  const notes = [...new Set(phases.flatMap((phase) => phase.notes))];
  return [
    !fits &&
      problemLine("error", { text: problem ?? "This run does not fit on this machine.", todo: null, link: null }),
    ...phases.map((phase) => phaseBox(phase, most, phases.length > 1)),
    phases.length > 0 &&
      h(
        "dl",
        { class: "facts" },
        ...(download === null ? [] : fact("To download", download === 0 ? "nothing" : formatFileSize(download))),
        ...(limits ? fact("Largest buffer here", formatBytes(limits.maxBufferSize)) : []),
      ),
    notes.length > 0 && h("ul", { class: "notes" }, ...notes.map((note) => h("li", {}, note))),
  ];
}

function fact(name: string, value: string): Child[] {
  return [h("dt", {}, name), h("dd", {}, value)];
}

/** Peak memory of a phase as a bar by category, with its number of steps and parameters. */
function phaseBox(
  { method, memory, max_steps, rows, trainable, parameters }: PhasePlan,
  most: number,
  several: boolean,
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
  return h(
    "section",
    { class: "phase-plan" },
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
      `${formatCount(max_steps)} steps over ${formatCount(rows)} rows; ${formatCount(trainable)} of ${formatCount(parameters)} parameters trained.`,
    ),
  );
}
