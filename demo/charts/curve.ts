import { nearest, selected } from "../../src/report/axes.ts";
import type { Series } from "../../src/report/metrics.ts";
import { type Mark, type Plot, plotOf } from "../../src/report/plot.ts";
import { X_AXES } from "../../src/report/positions.ts";
import { fill, svg } from "../dom.ts";
import type { ChartLink } from "./link.ts";

/** What a chart shows. */
export interface ChartSpec {
  title: string;
  /** of its values */
  unit: string;
  wide?: boolean;
}

/** The drawing of a chart. */
interface Curve {
  element: SVGElement;
  /** the present drawing; null before it has a size */
  plot(): Plot | null;
  update(series: readonly Series[]): void;
}

/** Pixels of the pointer's way below which a press is a click. */
const CLICK = 5;

/**
 * Lines as SVG in the page's colours. The pointer moves the crosshair of all linked charts; dragging with a mouse zooms, and
 * a double click shows everything again.
 *
 * @param signal stops following the link and the width
 */
export function createCurve(spec: ChartSpec, link: ChartLink, signal: AbortSignal, height: number): Curve {
  const marks = svg("g");
  const cursor = svg("line", { class: "cursor", visibility: "hidden" });
  const band = svg("rect", { class: "band", visibility: "hidden" });
  const element = svg("svg", { role: "img", class: "plot" }, marks, band, cursor);
  element.style.height = `${height}px`;
  let series: readonly Series[] = [];
  let width = 0;
  let plot: Plot | null = null;
  let from: number | null = null;

  const showCursor = (at: number | null) => {
    if (at === null || !plot || at < plot.x.low || at > plot.x.high) {
      cursor.setAttribute("visibility", "hidden");
      return;
    }
    const x = String(plot.xAt(at));
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x);
    cursor.removeAttribute("visibility");
  };
  const draw = () => {
    if (width === 0) return;
    const { by, smoothing, log } = link.settings.value;
    const kind = by === "step" ? "whole" : by === "time" ? "seconds" : "number";
    const { unit } = X_AXES.find(({ id }) => id === by)!;
    plot = plotOf({
      ...{ series, width, height, log, smoothing, unit: spec.unit, x: { kind, title: unit } },
      ...{ window: link.window.value, whole: link.whole.value },
    });
    element.setAttribute("viewBox", `0 0 ${width} ${height}`);
    fill(marks, ...plot.marks.map(markElement));
    for (const one of [cursor, band]) {
      one.setAttribute("y1", String(plot.area.top));
      one.setAttribute("y2", String(plot.area.bottom));
    }
    showCursor(link.at.value);
  };

  const pixels = (event: PointerEvent) => event.clientX - element.getBoundingClientRect().left;
  const showBand = (to: number) => {
    if (from === null || !plot) return;
    const { top, bottom } = plot.area;
    const box = { x: Math.min(from, to), width: Math.abs(to - from), y: top, height: bottom - top };
    for (const [name, value] of Object.entries(box)) band.setAttribute(name, String(value));
    band.removeAttribute("visibility");
  };
  const listen = (type: keyof SVGElementEventMap, act: (event: PointerEvent) => void) =>
    element.addEventListener(type, act as EventListener);
  listen("pointermove", (event) => {
    if (!plot) return;
    const at = pixels(event);
    const i = nearest(plot.xs, plot.valueAt(at));
    link.at.value = i < 0 ? null : plot.xs[i];
    showBand(at);
  });
  listen("pointerleave", () => {
    if (from === null) link.at.value = null;
  });
  listen("pointerdown", (event) => {
    if (event.pointerType === "touch" || event.button !== 0) return;
    event.preventDefault(); // no selection of the page's text
    from = pixels(event);
    element.setPointerCapture(event.pointerId);
  });
  listen("pointerup", (event) => {
    const [began, ended] = [from, pixels(event)];
    from = null;
    band.setAttribute("visibility", "hidden");
    if (began === null || !plot || Math.abs(ended - began) < CLICK) return;
    const now = selected(plot.whole, plot.valueAt(began), plot.valueAt(ended));
    if (now) link.window.value = now;
  });
  listen("pointercancel", () => {
    from = null;
    band.setAttribute("visibility", "hidden");
  });
  element.addEventListener("dblclick", () => (link.window.value = null));

  const observer = new ResizeObserver(([{ contentRect }]) => {
    const next = Math.round(contentRect.width);
    if (next === width) return;
    width = next;
    draw();
  });
  observer.observe(element);
  signal.addEventListener("abort", () => observer.disconnect(), { once: true });
  link.settings.watch(signal, draw);
  link.window.watch(signal, draw);
  link.at.watch(signal, showCursor);

  return {
    element,
    plot: () => plot,
    update(next) {
      series = next;
      draw();
    },
  };
}

function markElement(mark: Mark): SVGElement {
  switch (mark.kind) {
    case "line":
    case "path": {
      const { kind, ...attributes } = mark;
      return svg(kind, attributes);
    }
    case "dot":
      return svg("circle", { class: mark.class, cx: mark.x, cy: mark.y, r: 2.2 });
    case "text":
      return svg("text", { class: mark.class, x: mark.x, y: mark.y, "text-anchor": mark.anchor }, mark.text);
  }
}
