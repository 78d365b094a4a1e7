import { nearest } from "../../src/report/axes.ts";
import type { Series } from "../../src/report/metrics.ts";
import type { Plot } from "../../src/report/plot.ts";
import { X_AXES, type XAxis } from "../../src/report/positions.ts";
import { seriesClass } from "../../src/report/scale.ts";
import { formatNumber } from "../../src/text/numbers.ts";
import { formatSeconds } from "../../src/text/times.ts";
import { fill, h, svg } from "../dom.ts";
import { type ChartSpec, createCurve } from "./curve.ts";
import type { ChartLink } from "./link.ts";

/** A chart that is redrawn when its data grow. */
export interface Chart {
  element: HTMLElement;
  /** @param series placed on the link's x axis */
  update(series: readonly Series[]): void;
}

const HEIGHT = 190;
/** Pixels from the crosshair within which a series has a value there. */
const NEAR = 6;

/**
 * A card with a chart, the newest values or those at the crosshair, and a button that enlarges it. Screen readers get the
 * first and last values.
 *
 * @param signal stops observing the link and the chart's width
 */
export function createChart(spec: ChartSpec, link: ChartLink, signal: AbortSignal): Chart {
  const keys = h("span", { class: "keys" });
  const curve = createCurve(spec, link, signal, HEIGHT);
  const enlarge = h(
    "button",
    { type: "button", class: "enlarge", "aria-label": `Enlarge ${spec.title}`, title: "Enlarge" },
    svg(
      "svg",
      { viewBox: "0 0 16 16", "aria-hidden": "true" },
      svg("path", { d: "M9.5 2.5h4v4M6.5 13.5h-4v-4M13 3 9 7M3 13l4-4" }),
    ),
  );
  const element = h(
    "figure",
    { class: spec.wide ? "chart wide" : "chart" },
    h("figcaption", {}, h("strong", {}, spec.title), keys, enlarge),
    curve.element,
  );
  let series: readonly Series[] = [];
  let enlarged: ((series: readonly Series[]) => void) | null = null;
  const showKeys = () => fill(keys, ...keysOf(series, curve.plot(), link));
  link.at.watch(signal, showKeys);
  enlarge.addEventListener("click", async () => {
    const { openChart } = await import("./enlarged.ts");
    const open = openChart(spec, link, series, () => (enlarged = null));
    enlarged = open;
  });
  return {
    element,
    update(next) {
      series = next;
      curve.element.setAttribute("aria-label", summary(spec.title, link.settings.value.by, series));
      curve.update(series);
      showKeys();
      enlarged?.(series);
    },
  };
}

/** The series' newest values, or those at the crosshair. */
export function keysOf(series: readonly Series[], plot: Plot | null, link: ChartLink): HTMLElement[] {
  const at = link.at.value;
  const { by } = link.settings.value;
  const several = series.length > 1;
  const last = series.reduce<number | null>((most, { points }) => {
    const x = points.at(-1)?.[0];
    return x === undefined || (most !== null && most >= x) ? most : x;
  }, null);
  const keys = series.map(({ label, points }, i) => {
    const value = at === null ? points.findLast(([, y]) => Number.isFinite(y))?.[1] : valueNear(points, at, plot);
    return h(
      "span",
      { class: `key ${seriesClass(i)}` },
      several && h("i"),
      several && `${label} `,
      h("b", {}, formatNumber(value)),
    );
  });
  const x = at ?? last;
  return x === null ? keys : [...keys, h("span", { class: "at" }, xText(x, by))];
}

function valueNear(points: Series["points"], at: number, plot: Plot | null): number | undefined {
  const point =
    points[
      nearest(
        points.map(([x]) => x),
        at,
      )
    ];
  if (!point) return undefined;
  return point[0] === at || (plot && Math.abs(plot.xAt(point[0]) - plot.xAt(at)) <= NEAR) ? point[1] : undefined;
}

/** A place on the x axis in words: `step 12`, `8,210 tokens`, `1 min 05 s`, `epoch 0.25`. */
export function xText(x: number, by: XAxis): string {
  if (by === "time") return formatSeconds(x);
  if (by === "tokens") return `${formatNumber(x)} tokens`;
  return `${X_AXES.find(({ id }) => id === by)!.unit} ${formatNumber(x)}`;
}

function summary(title: string, by: XAxis, series: readonly Series[]): string {
  const told = series.flatMap(({ label, points }) => {
    const finite = points.filter(([, y]) => Number.isFinite(y));
    if (finite.length === 0) return [];
    const [[first, from], [last, to]] = [finite[0], finite.at(-1)!];
    const name = series.length > 1 ? `${label} ` : "";
    return `${name}${formatNumber(from)} at ${xText(first, by)}, ${formatNumber(to)} at ${xText(last, by)}`;
  });
  return `${title}: ${told.join("; ") || "no values yet"}`;
}
