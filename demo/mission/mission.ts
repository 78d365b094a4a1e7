import type { JobPlan, Preset } from "../../src/client/types.ts";
import { formatBytes, formatFileSize } from "../../src/text/bytes.ts";
import type { App } from "../app.ts";
import { fill, h } from "../dom.ts";
import { aboutSeconds } from "../forecast/machine.ts";
import type { Draft } from "../jobs.ts";
import { labelled, select } from "../parts/choice.ts";
import { problemLine } from "../parts/notice.ts";
import { problemOf } from "../problems.ts";
import { begin } from "../start/begin.ts";
import { missionDraft, missionJob, publishedDraft } from "./job.ts";

/** The second button: a published recipe on a model of the hub, with what it costs here. Null if it is not offered. */
export function mission(app: App, signal: AbortSignal, presets: readonly Preset[]): HTMLElement | null {
  const job = missionJob(presets);
  if (!job) return null;
  const said = h("div", { class: "said" });
  const costs = h("p", { class: "about", id: "mission-costs" }, " ");
  const attributes = { type: "button", class: "secondary large", "aria-describedby": "mission-costs" };
  const button = h("button", attributes, "Train Qwen2.5-0.5B on GSM8K");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await begin(app, job);
    } catch (error) {
      fill(said, problemLine("error", problemOf(error)));
      button.disabled = false;
    }
  });
  const look = async () => {
    try {
      for await (const event of app.trainer.forecast(job, { signal, quick: true })) {
        if (event.type === "plan" && !signal.aborted) fill(costs, costsText(event.plan));
      }
    } catch {
      fill(costs, "School mathematics by reward; the model is downloaded first, 1 GB."); // the forecast below tells why
    }
  };
  app.device.watch(signal, ({ state }) => {
    button.disabled = state === "missing";
    if (state === "ready") void look();
  });
  app.measured.watch(signal, (times) => times > 0 && void look());
  return h("div", { class: "mission" }, button, costs, said, recipesLine(app, presets));
}

/** Bytes of a parameter in 16 bits. */
const BYTES = 2;

function costsText({ phases, download, time, fits }: JobPlan): string {
  if (!fits) return "Too large for this machine. Choose it below to see what would fit.";
  const bytes = download ?? BYTES * phases[0].parameters;
  const peak = Math.max(...phases.map(({ memory }) => memory.peak));
  return [
    bytes > 0 ? `${formatFileSize(bytes)} to download` : "already downloaded",
    `${formatBytes(peak)} of GPU memory`,
    time ? `${aboutSeconds(time.seconds)} on this GPU` : "its time is not measured yet",
  ].join(" · ");
}

/** Fills the choices below with the mission or another published recipe. Starts nothing. */
function recipesLine(app: App, presets: readonly Preset[]): HTMLElement {
  const show = (draft: Draft | null) => {
    if (!draft) return;
    app.replaced = app.draft;
    app.draft = draft;
    app.notify({
      id: "link",
      kind: "info",
      text: "The choices below are those of the published recipe. Nothing has started.",
      todo: null,
      link: { text: "Bring back my own choices", href: "#/my-choices" },
    });
    dispatchEvent(new HashChangeEvent("hashchange"));
  };
  const published = presets.filter(({ job }) => job);
  const options = [["", "Choose a recipe …"] as const, ...published.map(({ id, name }) => [id, name] as const)];
  const list = select(options, "", (id) => {
    const chosen = published.find((preset) => preset.id === id);
    show(chosen?.id === "published-gsm8k-grpo-0.5b" ? missionDraft(presets) : chosen ? publishedDraft(chosen) : null);
  });
  return labelled("Or look at a published recipe", list);
}
