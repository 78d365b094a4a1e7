import { type Axis, type AxisKind, axisOf, type Window, within } from "./axes.ts";
import type { Series } from "./metrics.ts";
import { extent, linePath, seriesClass, thin } from "./scale.ts";
import { smooth } from "./smooth.ts";

/** What to draw. */
export interface PlotInput {
  series: readonly Series[];
  /** pixels */
  width: number;
  height: number;
  x: { kind: AxisKind; title: string };
  /** the unit of the values, such as nats */
  unit: string;
  log: boolean;
  /** from 0 to below 1 */
  smoothing: number;
  /** the part of the x axis to show; null: all */
  window: Window | null;
  /** the whole x axis, if several drawings share it; default: that of the series */
  whole?: Window | null;
}

/** One mark of a drawing, with the classes that give its colours. */
export type Mark =
  | { kind: "line"; class: string; x1: number; x2: number; y1: number; y2: number }
  | { kind: "path"; class: string; d: string }
  | { kind: "dot"; class: string; x: number; y: number }
  | { kind: "text"; class: string; x: number; y: number; anchor: "start" | "middle" | "end"; text: string };

/** A drawing, and where its data lie. */
export interface Plot {
  width: number;
  height: number;
  marks: Mark[];
  /** of the data, in pixels */
  area: { left: number; right: number; top: number; bottom: number };
  /** all x of the series within the window, ascending */
  xs: number[];
  /** the x axis of all data */
  whole: Window;
  x: Axis;
  y: Axis;
  /** pixels of a value */
  xAt(value: number): number;
  yAt(value: number): number;
  /** the x at pixels */
  valueAt(pixels: number): number;
  /** the series as drawn: smoothed, or the raw ones */
  lines: readonly Series[];
  /** values that a logarithmic axis can't show */
  hidden: number;
}

const TOP = 22;
const RIGHT = 12;
const BOTTOM = 36;
/** width of a tick's letter, pixels */
const LETTER = 6.4;
const DOTS = 24;

/** Draws curves as marks, which a page, a file or a canvas can show. */
export function plotOf({ series, width, height, x, unit, log, smoothing, window, whole: shared }: PlotInput): Plot {
  const lines = series.map((one) => ({ ...one, points: smooth(one.points, smoothing) }));
  const whole = shared ?? rangeOf(series);
  const seen = window ?? whole;
  const shown = (all: readonly Series[]) => all.map(({ points }) => thin(within(points, seen)));
  const [raw, main] = [shown(series), shown(lines)];
  const values = [...raw, ...main].flatMap((points) => points.map(([, y]) => y).filter(Number.isFinite));
  const positive = values.filter((y) => y > 0);
  const logarithmic = log && positive.length > 0;
  const hidden = logarithmic ? raw.flatMap((points) => points.filter(([, y]) => y <= 0)).length : 0;
  const yAxis = axisOf(logarithmic ? logExtent(positive) : extent(values), {
    count: Math.max(3, Math.round(height / 56)),
    log: logarithmic,
  });
  const left = Math.max(38, Math.max(...yAxis.ticks.map(({ text }) => text.length)) * LETTER + 14);
  const area = { left, right: width - RIGHT, top: TOP, bottom: height - BOTTOM };
  const xAxis = axisOf([seen.from, seen.to], {
    count: Math.max(3, Math.floor((area.right - left) / 78)),
    kind: window && x.kind === "whole" && seen.to - seen.from < 2 ? "number" : x.kind,
  });
  const xAt = (value: number) => left + xAxis.place(value) * (area.right - left);
  const yAt = (value: number) => area.bottom - yAxis.place(value) * (area.bottom - area.top);
  const able = (points: readonly (readonly [number, number])[]) =>
    logarithmic ? points.map(([px, py]) => [px, py > 0 ? py : Number.NaN] as const) : points;

  const marks = frame({ area, xAxis, yAxis, xAt, yAt, xTitle: x.title, unit });
  for (const [i, points] of main.entries()) {
    const kind = seriesClass(i);
    if (smoothing > 0) marks.push({ kind: "path", class: `raw ${kind}`, d: linePath(able(raw[i]), xAt, yAt) });
    marks.push({ kind: "path", class: `line ${kind}`, d: linePath(able(points), xAt, yAt) });
    const finite = able(points).filter(([, y]) => Number.isFinite(y));
    for (const [px, py] of finite.length <= DOTS ? finite : finite.slice(-1))
      marks.push({ kind: "dot", class: `dot ${kind}`, x: xAt(px), y: yAt(py) });
  }
  const xs = [...new Set(series.flatMap(({ points }) => points.map(([at]) => at)))]
    .filter((at) => at >= seen.from && at <= seen.to)
    .sort((a, b) => a - b);
  const valueAt = (pixels: number) => xAxis.value((pixels - left) / (area.right - left));
  return { width, height, marks, area, xs, whole, x: xAxis, y: yAxis, xAt, yAt, valueAt, lines, hidden };
}

interface Frame {
  area: Plot["area"];
  xAxis: Axis;
  yAxis: Axis;
  xAt(value: number): number;
  yAt(value: number): number;
  xTitle: string;
  unit: string;
}

/** Grid, ticks and names of the axes. */
function frame({ area, xAxis, yAxis, xAt, yAt, xTitle, unit }: Frame): Mark[] {
  const { left, right, top, bottom } = area;
  const marks: Mark[] = [{ kind: "text", class: "tick name", x: 0, y: top - 10, anchor: "start", text: unit }];
  for (const { at, text } of yAxis.ticks) {
    const y = yAt(at);
    marks.push(
      { kind: "line", class: "grid", x1: left, x2: right, y1: y, y2: y },
      { kind: "text", class: "tick", x: left - 8, y: y + 4, anchor: "end", text },
    );
  }
  marks.push({ kind: "line", class: "axis", x1: left, x2: right, y1: bottom, y2: bottom });
  for (const { at, text } of xAxis.ticks) {
    const x = xAt(at);
    // a label at an end of the axis stays within the drawing
    const half = (text.length * LETTER) / 2;
    const anchor = x + half > right + RIGHT ? "end" : "middle";
    marks.push(
      { kind: "line", class: "axis", x1: x, x2: x, y1: bottom, y2: bottom + 4 },
      { kind: "text", class: "tick", x, y: bottom + 16, anchor, text },
    );
  }
  marks.push({ kind: "text", class: "tick name", x: right, y: bottom + 31, anchor: "end", text: xTitle });
  return marks;
}

/** The x axis of all series. */
export function rangeOf(series: readonly Series[]): Window {
  let [from, to] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const { points } of series) {
    for (const [x] of points) {
      if (x < from) from = x;
      if (x > to) to = x;
    }
  }
  return from <= to ? { from, to } : { from: 0, to: 1 };
}

/** Ends of a logarithmic axis: a little more than the values. */
function logExtent(values: readonly number[]): [number, number] {
  let [low, high] = [Number.POSITIVE_INFINITY, 0];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const air = low === high ? 2 : (high / low) ** 0.04;
  return [low / air, high * air];
}
