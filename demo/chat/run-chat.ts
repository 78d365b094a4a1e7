import type { RunCheckpoint } from "../../src/client/types.ts";
import { METHOD_NAMES } from "../../src/report/names.ts";
import type { App } from "../app.ts";
import { h } from "../dom.ts";
import { neverKept, watchKept } from "../parts/kept-adapters.ts";
import type { Run } from "../run.ts";
import { ChatRoom, type Speaker } from "./room.ts";

const BASE = "base";
const NEWEST = "newest";

/** A chat with a run's model before training beside its newest adapter, or any two of its adapters. */
export function runChat(app: App, run: Run, signal: AbortSignal): HTMLElement {
  const { job, evaluations } = run.record;
  const { model } = job;
  const common = { run: run.id, model };
  const speakers: Speaker[] = [
    { id: BASE, title: "Before training", trained: false, request: { ...common, adapter: false } },
    { id: NEWEST, title: "Trained", trained: true, request: { ...common, adapter: true } },
  ];
  const suggestions = (evaluations[0]?.problems ?? []).slice(0, 2).map(({ question }) => question);
  const system = job.phases.at(-1)?.recipe.system_prompt;
  const room = new ChatRoom(
    app,
    {
      title: "Chat with the model",
      speakers,
      panes: [BASE, NEWEST],
      temperature: 0, // so that two answers differ only by their models
      system: typeof system === "string" ? system : "",
      suggestions,
    },
    signal,
  );
  watchKept(app, run, signal, (kept) => {
    const others = kept.map(
      (one): Speaker => ({
        id: `${one.phase}/${one.step}`,
        title: titleOf(one, job.phases.length),
        trained: true,
        request: { ...common, adapter: true, checkpoint: { phase: one.phase, step: one.step } },
      }),
    );
    if (others.length > 1) room.offer([...speakers, ...others]);
    else if (others.length === 0 && neverKept(run)) room.offer(speakers.filter(({ trained }) => !trained));
  });
  const busy = h("p", { class: "about" }, "The model is training. Pause the run to chat.");
  room.element.append(busy);
  run.watch(signal, () => {
    const training = app.active.value?.activity !== undefined && app.active.value.activity !== "idle";
    busy.hidden = !training;
    room.composer.form.hidden = training;
  });
  return room.element;
}

function titleOf({ phase, method, step }: RunCheckpoint, phases: number): string {
  const name = METHOD_NAMES[method];
  const place = phases > 1 ? `${name}, phase ${phase + 1}` : name;
  return step === null ? `After ${place}` : `${place}, step ${step}`;
}
