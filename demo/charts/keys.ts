import { nearest } from "../../src/report/axes.ts";
import type { Series } from "../../src/report/metrics.ts";
import type { Plot } from "../../src/report/plot.ts";
import { X_AXES, type XAxis } from "../../src/report/positions.ts";
import { seriesClass } from "../../src/report/scale.ts";
import { formatNumber } from "../../src/text/numbers.ts";
import { formatSeconds } from "../../src/text/times.ts";
import { h } from "../dom.ts";
import type { ChartLink } from "./link.ts";

/** Pixels from the crosshair within which a series has a value there. */
const NEAR = 6;

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
