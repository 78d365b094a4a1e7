import type { Job, JobPlan, Preset } from "../../src/client/types.ts";
import { formatBytes, formatFileSize } from "../../src/text/bytes.ts";
import type { App } from "../app.ts";
import { fill, h, uid } from "../dom.ts";
import { aboutSeconds } from "../forecast/machine.ts";
import type { Draft } from "../jobs.ts";
import { labelled, select } from "../parts/choice.ts";
import { problemLine } from "../parts/notice.ts";
import { problemOf } from "../problems.ts";
import { begin } from "../start/begin.ts";
import { MISSIONS, type Mission, missionDraft, missionJob, publishedDraft } from "./job.ts";

/** The buttons after the first: published recipes on models of the hub, with what each costs here. Null if none is offered. */
export function missions(app: App, signal: AbortSignal, presets: readonly Preset[]): HTMLElement | null {
  const said = h("div", { class: "said" });
  const offered = MISSIONS.flatMap((mission) => {
    const job = missionJob(presets, mission);
    return job ? [new Offer(app, mission, job, said)] : [];
  });
  if (offered.length === 0) return null;
  // one forecast after the other: the first answers first
  const look = async () => {
    for (const offer of offered) await offer.look(signal);
  };
  app.device.watch(signal, ({ state }) => {
    for (const { button } of offered) button.disabled = state === "missing";
    if (state === "ready") void look();
  });
  app.measured.watch(signal, (times) => times > 0 && offered.some(({ timed }) => !timed) && void look());
  return h("div", { class: "mission" }, ...offered.map(({ element }) => element), said, recipesLine(app, presets));
}

/** A mission's button and its costs. */
class Offer {
  readonly element: HTMLElement;
  readonly button: HTMLButtonElement;
  readonly #app: App;
  readonly #job: Job;
  readonly #costs: HTMLElement;
  readonly #bytes: number;
  #plan: JobPlan | null = null;

  /** @param said shows why a job did not start */
  constructor(app: App, { model, bytes }: Mission, job: Job, said: HTMLElement) {
    this.#app = app;
    this.#job = job;
    this.#bytes = bytes;
    this.#costs = h("p", { class: "about", id: uid("mission-costs") }, "\u00a0");
    const attributes = { type: "button", class: "secondary large", "aria-describedby": this.#costs.id };
    this.button = h("button", attributes, `Train ${model} on GSM8K`);
    this.button.addEventListener("click", async () => {
      this.button.disabled = true;
      try {
        await begin(app, job, this.#plan);
      } catch (error) {
        fill(said, problemLine("error", problemOf(error)));
        this.button.disabled = false;
      }
    });
    this.element = h("div", { class: "offer" }, this.button, this.#costs);
  }

  /** whether the costs tell the time */
  get timed(): boolean {
    return this.#plan?.time != null;
  }

  /** Asks what it costs here, without any download or measurement. */
  async look(signal: AbortSignal): Promise<void> {
    try {
      for await (const event of this.#app.trainer.forecast(this.#job, { signal, quick: true })) {
        if (event.type !== "plan" || signal.aborted) continue;
        fill(this.#costs, costsText(event.plan));
        this.#plan = event.plan;
      }
    } catch {
      // the forecast below tells why
      fill(this.#costs, `School mathematics by reward; the model is downloaded first, ${formatFileSize(this.#bytes)}.`);
    }
  }
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
    const whole = MISSIONS.find(({ preset }) => preset === id);
    show(whole ? missionDraft(presets, whole) : chosen ? publishedDraft(chosen) : null);
  });
  return labelled("Or look at a published recipe", list);
}
