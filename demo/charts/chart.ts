import type { Series } from "../../src/report/metrics.ts";
import type { XAxis } from "../../src/report/positions.ts";
import { formatNumber } from "../../src/text/numbers.ts";
import { fill, h, svg } from "../dom.ts";
import { type ChartSpec, createCurve } from "./curve.ts";
import { keysOf, xText } from "./keys.ts";
import type { ChartLink } from "./link.ts";

/** A chart that is redrawn when its data grow. */
export interface Chart {
  element: HTMLElement;
  /** @param series placed on the link's x axis */
  update(series: readonly Series[]): void;
}

const HEIGHT = 190;

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
    const open = openChart(spec, link, series, element.getRootNode(), () => (enlarged = null));
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
