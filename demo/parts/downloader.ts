import type { DataSource, Job, JobPlan, ModelSource } from "../../src/client/types.ts";
import { formatFileSize } from "../../src/text/bytes.ts";
import type { App } from "../app.ts";
import { fill, h, setIdle } from "../dom.ts";
import { problemOf } from "../problems.ts";
import { problemLine } from "./notice.ts";
import { progressBar } from "./progress.ts";

/** Downloads a job's files without training, such as before going offline. */
interface Downloader {
  element: HTMLElement;
  offer(planned: { job: Job; plan: JobPlan } | null): void;
}

export function downloader(app: App, signal: AbortSignal, done: () => void): Downloader {
  const element = h("div", { class: "downloader" });
  let busy = false;
  /** how the last download ended, until files of other names are wanted */
  let said: { element: HTMLElement; sources: string } | null = null;
  /** the button stays when a more exact plan says the same; job null: this draft cannot run */
  let offered: { button: HTMLElement; job: Job | null; bytes: number } | null = null;

  const say = (text: HTMLElement, job: Job) => {
    fill(element, text);
    said = { element: text, sources: namesOf(job) };
  };
  const start = async (job: Job) => {
    busy = true;
    said = null;
    offered = null;
    const stop = new AbortController();
    const end = () => stop.abort();
    signal.addEventListener("abort", end, { once: true });
    const bar = progressBar();
    fill(element, bar.element, h("button", { type: "button", class: "secondary", on: { click: end } }, "Cancel"));
    try {
      for (const source of sourcesOf(job)) {
        for await (const event of app.trainer.download(source, { signal: stop.signal })) {
          if (event.type === "progress") bar.set(event);
        }
      }
      stop.signal.throwIfAborted();
      say(h("p", { class: "right", role: "status" }, "All files are here."), job);
    } catch (error) {
      if (stop.signal.aborted)
        say(h("p", { class: "about", role: "status" }, "Cancelled. The partial download is kept."), job);
      else say(problemLine("error", problemOf(error)), job);
    }
    signal.removeEventListener("abort", end);
    busy = false;
    app.stored.value++;
    done();
  };
  const withdraw = () => {
    offered?.button.remove();
    offered = null;
  };

  return {
    element,
    offer(planned) {
      if (busy) return;
      if (offered) {
        offered.job = planned?.job ?? null;
        setIdle(offered.button, planned === null);
      }
      if (!planned) return;
      if (said && said.sources !== namesOf(planned.job)) {
        said.element.remove();
        said = null;
      }
      const bytes = planned.plan.download;
      if (bytes === 0) withdraw();
      if (!bytes || offered?.bytes === bytes) return; // null: not known yet
      withdraw();
      const button = h("button", { type: "button", class: "secondary wide" }, `Only download ${formatFileSize(bytes)}`);
      button.addEventListener("click", () => {
        if (offered?.job) void start(offered.job);
      });
      offered = { button, job: planned.job, bytes };
      element.append(button);
    },
  };
}

/** Names the files that a job downloads. */
const namesOf = (job: Job) => JSON.stringify(sourcesOf(job));

function sourcesOf({ model, phases, evaluate }: Job): (ModelSource | DataSource)[] {
  const data = [...phases.map((phase) => phase.data), ...(evaluate ? [evaluate.data] : [])];
  return [model, ...data].filter(({ kind }) => kind === "hub");
}
