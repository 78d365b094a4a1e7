import type { Series } from "../src/report/metrics.ts";
import { extent, linePath, seriesClass, thin, ticks, tickText } from "../src/report/scale.ts";
import { formatNumber } from "../src/text/numbers.ts";
import { fill, h, svg } from "./dom.ts";

/** A chart that is redrawn when its data grow. */
export interface Chart {
  element: HTMLElement;
  update(series: readonly Series[]): void;
}

const HEIGHT = 168;
const LEFT = 46;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 22;

/**
 * Lines over steps, as SVG in the page's colours. The key above shows the newest values, or the values at the pointer. Screen
 * readers get the first and last values. The table below the charts holds all numbers.
 *
 * @param signal stops observing the chart's width
 */
export function createChart(title: string, xLabel: string, signal: AbortSignal): Chart {
  const keys = h("span", { class: "keys" });
  const drawing = svg("svg", { role: "img", class: "plot" });
  const element = h("figure", { class: "chart" }, h("figcaption", {}, h("strong", {}, title), keys), drawing);
  let series: readonly Series[] = [];
  let width = 0;
  let shown: { x: number; step: number } | null = null;
  let steps: { x: number; step: number }[] = [];

  const showKeys = () => {
    const step = shown?.step ?? series.reduce((last, { points }) => Math.max(last, points.at(-1)?.[0] ?? 0), 0);
    const several = series.length > 1;
    fill(
      keys,
      ...series.map(({ label, points }, i) => {
        const point = shown ? points.find(([x]) => x === step) : points.findLast(([, y]) => Number.isFinite(y));
        return h(
          "span",
          { class: `key ${seriesClass(i)}` },
          several && h("i"),
          several && `${label} `,
          h("b", {}, formatNumber(point?.[1])),
        );
      }),
      step > 0 && h("span", { class: "at" }, `${xLabel} ${step}`),
    );
  };

  const draw = () => {
    if (width === 0) return;
    const lines = series.map(({ points }) => thin(points));
    const finite = lines.map((points) => points.filter(([, y]) => Number.isFinite(y)));
    const [low, high] = extent(finite.flatMap((points) => points.map(([, y]) => y)));
    const xs = lines.flatMap((points) => points.map(([x]) => x));
    const [from, to] = xs.length > 0 ? [Math.min(...xs), Math.max(...xs)] : [0, 1];
    const x = (value: number) => LEFT + (to > from ? (value - from) / (to - from) : 0.5) * (width - LEFT - RIGHT);
    const y = (value: number) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    const base = HEIGHT - BOTTOM;
    const parts: SVGElement[] = ticks(low, high, 3).flatMap((tick) => [
      svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }),
      svg("text", { class: "tick", x: LEFT - 8, y: y(tick), dy: "0.32em", "text-anchor": "end" }, tickText(tick)),
    ]);
    const whole = ticks(from, to, width < 360 ? 4 : 6).filter(Number.isInteger);
    for (const tick of xs.length === 0 ? [] : whole.length > 0 ? whole : [from]) {
      parts.push(svg("text", { class: "tick", x: x(tick), y: base + 16, "text-anchor": "middle" }, tickText(tick)));
    }
    parts.push(svg("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: base, y2: base }));
    for (const [i, points] of lines.entries()) {
      parts.push(svg("path", { class: `line ${seriesClass(i)}`, d: linePath(points, x, y) }));
      const dots = finite[i].length <= 24 ? finite[i] : finite[i].slice(-1);
      for (const [px, py] of dots)
        parts.push(svg("circle", { class: `dot ${seriesClass(i)}`, cx: x(px), cy: y(py), r: 2.2 }));
    }
    parts.push(
      svg("line", {
        class: "cursor",
        y1: TOP,
        y2: base,
        x1: shown?.x,
        x2: shown?.x,
        visibility: shown ? null : "hidden",
      }),
    );
    steps = [...new Set(xs)].map((step) => ({ x: x(step), step }));
    drawing.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    fill(drawing, ...parts);
  };

  const point = (event: PointerEvent) => {
    const at = event.clientX - drawing.getBoundingClientRect().left;
    shown = steps.reduce<typeof shown>(
      (best, one) => (!best || Math.abs(one.x - at) < Math.abs(best.x - at) ? one : best),
      null,
    );
    const cursor = drawing.querySelector(".cursor");
    if (shown) {
      for (const end of ["x1", "x2"]) cursor?.setAttribute(end, String(shown.x));
      cursor?.removeAttribute("visibility");
    }
    showKeys();
  };
  drawing.addEventListener("pointermove", point as EventListener);
  drawing.addEventListener("pointerleave", () => {
    shown = null;
    drawing.querySelector(".cursor")?.setAttribute("visibility", "hidden");
    showKeys();
  });

  const observer = new ResizeObserver(([{ contentRect }]) => {
    const next = Math.round(contentRect.width);
    if (next === width) return;
    width = next;
    draw();
  });
  observer.observe(drawing);
  signal.addEventListener("abort", () => observer.disconnect(), { once: true });

  return {
    element,
    update(next) {
      series = next;
      drawing.setAttribute("aria-label", summary(title, xLabel, series));
      draw();
      showKeys();
    },
  };
}

/** A table of all series, one row per step, newest first, as the accessible alternative to a chart. */
export function figuresTable(columns: readonly Series[], caption: string): HTMLTableElement {
  const byStep = new Map<number, (number | null)[]>();
  columns.forEach(({ points }, i) => {
    for (const [step, value] of points) {
      if (!byStep.has(step))
        byStep.set(
          step,
          columns.map(() => null),
        );
      byStep.get(step)![i] = value;
    }
  });
  const rows = [...byStep].sort(([a], [b]) => b - a);
  return h(
    "table",
    { class: "figures" },
    h("caption", { class: "hidden" }, caption),
    h(
      "thead",
      {},
      h("tr", {}, h("th", { scope: "col" }, "Step"), ...columns.map(({ label }) => h("th", { scope: "col" }, label))),
    ),
    h(
      "tbody",
      {},
      ...rows.map(([step, values]) =>
        h("tr", {}, h("th", { scope: "row" }, step), ...values.map((value) => h("td", {}, formatNumber(value)))),
      ),
    ),
  );
}

function summary(title: string, xLabel: string, series: readonly Series[]): string {
  const told = series.flatMap(({ label, points }) => {
    const finite = points.filter(([, y]) => Number.isFinite(y));
    if (finite.length === 0) return [];
    const [[first, from], [last, to]] = [finite[0], finite.at(-1)!];
    const name = series.length > 1 ? `${label} ` : "";
    return `${name}${formatNumber(from)} at ${xLabel} ${first}, ${formatNumber(to)} at ${xLabel} ${last}`;
  });
  return `${title}: ${told.join("; ") || "no values yet"}`;
}
