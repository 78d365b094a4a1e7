import { Host } from "./widget/host.ts";
import type { WidgetModel } from "./widget/model.ts";
import { showWidget } from "./widget/view.ts";

// The trainer as an anywidget front end (https://anywidget.dev): for Jupyter, JupyterLab, marimo and others.
// Traits that Python sets: `job` (like the client's `Job`), `files` (bytes by name, see widget/job.ts), `command` (start,
// pause, stop, adapter; executed once), `assets` (address of the folder with the embedded model), `binary` (false: bytes are
// sent as base64).
// Traits that the widget sets: `status`, `problem`, `progress`, `metrics` (the newest log), `logs` (by phase), `accuracy`,
// `notes`, `run`. The widget sends the adapter as messages, see widget/model.ts, before it sets `status` to finished or
// stopped.

/** Identifies a model's host, because anywidget hosts give each view of a model a different object. */
const KEY = "_qwench_host";
const hosts = new Map<unknown, { host: Host; users: number }>();

/** The host of a model, created on first use and closed after its last user has left. */
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

/** Keeps the trainer for the model's lifetime, so that training continues while no view is open. */
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
