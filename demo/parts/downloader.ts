import type { DataSource, Job, JobPlan, ModelSource } from "../../src/client/types.ts";
import { formatFileSize } from "../../src/text/bytes.ts";
import type { App } from "../app.ts";
import { fill, h } from "../dom.ts";
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
  let busy: AbortController | null = null;
  /** what the button offers: it stays when a more exact plan says the same */
  let offered: { job: Job; bytes: number } | null = null;

  const start = async (job: Job) => {
    offered = null;
    busy = new AbortController();
    const stop = busy;
    signal.addEventListener("abort", () => stop.abort(), { once: true });
    const bar = progressBar();
    fill(
      element,
      bar.element,
      h("button", { type: "button", class: "secondary", on: { click: () => stop.abort() } }, "Cancel"),
    );
    try {
      for (const source of sourcesOf(job)) {
        for await (const event of app.trainer.download(source, { signal: stop.signal })) {
          if (event.type === "progress") bar.set(event);
        }
      }
      fill(element, h("p", { class: "right", role: "status" }, "All files are here."));
    } catch (error) {
      if (stop.signal.aborted)
        fill(element, h("p", { class: "about", role: "status" }, "Cancelled. The partial download is kept."));
      else fill(element, problemLine("error", problemOf(error)));
    }
    busy = null;
    app.stored.value++;
    done();
  };

  return {
    element,
    offer(planned) {
      if (busy) return;
      const bytes = planned?.plan.download ?? 0;
      if (!planned || bytes === 0) return;
      if (offered?.bytes === bytes) {
        offered.job = planned.job;
        return;
      }
      const now = { job: planned.job, bytes };
      offered = now;
      const button = h("button", { type: "button", class: "secondary wide" }, `Only download ${formatFileSize(bytes)}`);
      button.addEventListener("click", () => void start(now.job));
      fill(element, button);
    },
  };
}

function sourcesOf({ model, phases, evaluate }: Job): (ModelSource | DataSource)[] {
  const data = [...phases.map((phase) => phase.data), ...(evaluate ? [evaluate.data] : [])];
  return [model, ...data].filter(({ kind }) => kind === "hub");
}
