import type { Packed } from "../widget-model.ts";

// Stands in for a notebook with anywidget: a model as Backbone's, and another proxy of it for each hook.
const traits: Record<string, unknown> = {};
const changed = new Set<string>();
const listeners = new Map<string, Set<() => void>>();
const unpack = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(unpack);
  if (typeof value !== "object" || value === null) return value;
  const { base64 } = value as Packed;
  if (typeof base64 === "string") {
    return new DataView(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);
  }
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, unpack(one)]));
};
const pack = (view: ArrayBufferView) => {
  let text = "";
  for (const byte of new Uint8Array(view.buffer, view.byteOffset, view.byteLength)) text += String.fromCharCode(byte);
  return btoa(text);
};
const set = (name: string, value: unknown) => {
  if (JSON.stringify(traits[name]) === JSON.stringify(value)) return;
  traits[name] = value;
  for (const listener of [...(listeners.get(`change:${name}`) ?? [])]) listener();
};
const proxy = () => ({
  get: (name: string) => traits[name],
  set(name: string, value: unknown) {
    changed.add(name);
    set(name, value);
  },
  save_changes() {
    const state = Object.fromEntries([...changed].map((name) => [name, traits[name]]));
    changed.clear();
    void toKernel("update", state, []);
  },
  on: (event: string, listener: () => void) =>
    void listeners.set(event, (listeners.get(event) ?? new Set()).add(listener)),
  off: (event: string, listener: () => void) => void listeners.get(event)?.delete(listener),
  send: (content: unknown, _: unknown, buffers: ArrayBufferView[] = []) =>
    void toKernel("custom", content, buffers.map(pack)),
});
type Hook = (props: { model: unknown; el: HTMLElement | undefined }) => (() => void) | undefined;
let module: { initialize?: Hook; render: Hook };
const views: { el: HTMLElement; cleanup: (() => void) | undefined }[] = [];
globalThis.widgets = {
  async load(esm, initial) {
    Object.assign(traits, unpack(initial) as object);
    const url = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
    module = (await import(/* @vite-ignore */ url)).default;
    URL.revokeObjectURL(url);
    module.initialize?.({ model: proxy(), el: undefined });
  },
  async show() {
    const el = document.createElement("div");
    document.body.append(el);
    const cleanup = module.render({ model: proxy(), el });
    return views.push({ el, cleanup }) - 1;
  },
  async close(view) {
    views[view].cleanup?.();
    views[view].el.remove();
  },
  update(state) {
    for (const [name, value] of Object.entries(state)) set(name, unpack(value));
  },
  get: (name) => traits[name],
};
