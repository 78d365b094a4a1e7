import { Host } from "./widget/host.ts";
import type { WidgetModel } from "./widget/model.ts";
import { showWidget } from "./widget/view.ts";

// The trainer as an anywidget front end (https://anywidget.dev): for Jupyter, JupyterLab, marimo and others.
//
// Traits that Python sets: `job` (as the client's `Job`), `files` (bytes by name, see widget/job.ts), `command` (start, pause, stop,
// adapter; taken once), `assets` (address of the folder with the embedded model), `binary` (false: bytes come as base64).
// Traits that the widget sets: `status`, `problem`, `progress`, `metrics` (the newest log), `logs` (by phase), `accuracy`,
// `notes`, `run`. The adapter comes as messages, see widget/model.ts, before `status` says finished or stopped.

/** The model's own name for its host. Hosts of anywidget hand out another object for each view of one model. */
const KEY = "_qwench_host";
const hosts = new Map<unknown, { host: Host; users: number }>();

/** The host of a model, made when it is first needed, ended when its last user has gone. */
function use(model: WidgetModel): { host: Host; release: () => void } {
  let key = model.get(KEY);
  if (!hosts.has(key)) {
    key = `${Date.now()}-${Math.random()}`;
    model.set(KEY, key);
    hosts.set(key, { host: new Host(model), users: 0 });
  }
  const held = hosts.get(key)!;
  held.users++;
  return {
    host: held.host,
    release() {
      if (--held.users > 0) return;
      hosts.delete(key);
      held.host.end();
    },
  };
}

/** Holds the trainer for as long as the model lives: it goes on while no view shows it. */
function initialize({ model }: { model: WidgetModel }): () => void {
  return use(model).release;
}

function render({ model, el }: { model: WidgetModel; el: HTMLElement }): () => void {
  const { host, release } = use(model);
  const control = new AbortController();
  showWidget(el, host, control.signal);
  return () => {
    control.abort();
    release();
  };
}

export default { initialize, render };
