import { nearest, zoomed } from "../../src/report/axes.ts";
import { X_AXES, type XAxis } from "../../src/report/positions.ts";
import { h, setText, uid } from "../dom.ts";
import { xText } from "./keys.ts";
import type { ChartLink } from "./link.ts";

/** X axis, smoothing, log scale, zoom, and a slider that moves the crosshair without a pointer. */
export function toolbar(link: ChartLink, signal: AbortSignal): HTMLElement {
  const by = h("select", { id: uid("by") }, ...X_AXES.map(({ id, title }) => h("option", { value: id }, title)));
  by.addEventListener("change", () => link.set({ by: by.value as XAxis }));
  const smoothing = h("input", { type: "range", min: 0, max: 0.99, step: 0.01, id: uid("smoothing") });
  smoothing.addEventListener("input", () => link.set({ smoothing: smoothing.valueAsNumber }));
  const amount = h("output", { for: smoothing.id });
  const log = h("input", { type: "checkbox", id: uid("log") });
  log.addEventListener("change", () => link.set({ log: log.checked }));
  const position = h("input", { type: "range", min: 0, max: 0, step: 1, id: uid("position") });
  position.addEventListener("input", () => (link.at.value = link.xs.value[position.valueAsNumber] ?? null));
  position.addEventListener("blur", () => (link.at.value = null));
  const zoom = (factor: number) => () => {
    const whole = link.whole.value;
    if (!whole) return;
    const { from, to } = link.window.value ?? whole;
    link.window.value = zoomed(whole, link.window.value, factor, link.at.value ?? (from + to) / 2);
  };
  const button = (text: string, label: string, act: () => void) =>
    h(
      "button",
      { type: "button", class: "secondary small", "aria-label": label, title: label, on: { click: act } },
      text,
    );
  const all = button("All", "All of the axis", () => (link.window.value = null));

  link.settings.watch(signal, (settings) => {
    by.value = settings.by;
    smoothing.valueAsNumber = settings.smoothing;
    setText(amount, settings.smoothing === 0 ? "off" : settings.smoothing.toFixed(2));
    log.checked = settings.log;
  });
  link.window.watch(signal, (window) => (all.disabled = window === null));
  link.at.watch(signal, (at) => {
    if (at !== null && document.activeElement !== position) position.valueAsNumber = nearest(link.xs.value, at);
    position.setAttribute("aria-valuetext", at === null ? "none" : xText(at, link.settings.value.by));
  });

  const field = (label: string, control: HTMLElement, ...rest: HTMLElement[]) =>
    h("span", { class: "tool" }, h("label", { for: control.id }, label), control, ...rest);
  link.xs.watch(signal, (xs) => (position.max = String(Math.max(0, xs.length - 1))));
  link.able.watch(signal, (able) => {
    for (const option of by.options) option.disabled = !able.includes(option.value as XAxis);
  });
  return h(
    "div",
    { class: "toolbar", role: "group", "aria-label": "Charts" },
    field("X axis", by),
    field("Smoothing", smoothing, amount),
    h("span", { class: "tool" }, log, h("label", { for: log.id }, "Log scale")),
    field("Position", position),
    h("span", { class: "tool" }, button("+", "Zoom in", zoom(2)), button("−", "Zoom out", zoom(0.5)), all),
  );
}
