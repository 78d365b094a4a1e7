import { formatSeconds } from "../text/times.ts";
import { type Points, ticks, tickText } from "./scale.ts";

/** A mark on an axis: its value and its label. */
interface Tick {
  at: number;
  text: string;
}

/** What an axis counts, which decides its steps and labels. */
export type AxisKind = "number" | "whole" | "seconds";

/** A linear or logarithmic axis. */
export interface Axis {
  low: number;
  high: number;
  log: boolean;
  ticks: Tick[];
  /** where a value lies: 0 at `low`, 1 at `high` */
  place(value: number): number;
  /** the value at a place, the inverse of `place` */
  value(place: number): number;
}

const LEAST = 3;
/** Steps of an axis in seconds: up to half a day. */
const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200];

/**
 * An axis with at least three ticks. A whole-number axis that is too short for three numbers is extended.
 *
 * @param low the axis starts here; above 0 if `log`
 * @param count about how many ticks fit
 */
export function axisOf(
  [low, high]: readonly [number, number],
  { count, kind = "number", log = false }: { count: number; kind?: AxisKind; log?: boolean },
): Axis {
  if (kind === "whole" && high - low < LEAST - 1) [low, high] = [Math.floor(low), Math.floor(low) + LEAST - 1];
  if (!(high > low)) high = low + (Math.abs(low) || 1) * 0.1;
  if (log && low > 0) {
    const [from, to] = [Math.log(low), Math.log(high)];
    return {
      ...{ low, high, log: true, ticks: labelled(logTicks(low, high, count), "number") },
      place: (value) => (Math.log(value) - from) / (to - from),
      value: (place) => Math.exp(from + place * (to - from)),
    };
  }
  return {
    ...{ low, high, log: false, ticks: labelled(linearTicks(low, high, count, kind), kind) },
    place: (value) => (value - low) / (high - low),
    value: (place) => low + place * (high - low),
  };
}

function linearTicks(low: number, high: number, count: number, kind: AxisKind): number[] {
  if (kind === "seconds" && high - low >= 2 * LEAST) {
    const step =
      SECONDS.find((one) => (high - low) / one <= count) ?? 86_400 * Math.ceil((high - low) / count / 86_400);
    const all = multiples(low, high, step);
    if (all.length >= LEAST) return all;
    const finer = SECONDS.findLast((one) => multiples(low, high, one).length >= LEAST);
    return finer === undefined ? all : multiples(low, high, finer);
  }
  const proper = (all: number[]) => (kind === "whole" ? all.filter(Number.isInteger) : all);
  for (let wanted = Math.max(count, LEAST); ; wanted++) {
    const all = proper(ticks(low, high, wanted));
    // a whole-number axis between 0.5 and 2.6 has only two
    if (all.length >= LEAST || wanted > count + 12) return all.length > 0 ? all : ticks(low, high, LEAST);
  }
}

function multiples(low: number, high: number, step: number): number[] {
  const all: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) all.push(i * step);
  return all;
}

/** Powers of ten; with 2 and 5 times them, or every power of a few, as the range allows; round numbers on a short range. */
function logTicks(low: number, high: number, count: number): number[] {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const inside = (value: number) => value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9);
  const of = (factors: readonly number[], every: number) => {
    const all: number[] = [];
    for (let power = Math.ceil(first / every) * every; power <= last; power += every)
      for (const factor of factors) all.push(Number((factor * 10 ** power).toPrecision(6)));
    return all.filter(inside);
  };
  for (let every = Math.max(1, Math.ceil((last - first) / count)); every >= 1; every--) {
    const all = of([1], every);
    if (all.length >= LEAST) return all;
  }
  const finer = of([1, 2, 5], 1);
  return finer.length >= LEAST ? finer : linearTicks(low, high, count, "number");
}

function labelled(values: readonly number[], kind: AxisKind): Tick[] {
  const texts = kind === "seconds" ? values.map(secondsText) : numberTexts(values);
  return values.map((at, i) => ({ at, text: texts[i] }));
}

/** One unit for the whole axis: `5k, 10k`, not `5000, 10k`. Labels that would be equal are written in full. */
function numberTexts(values: readonly number[]): string[] {
  const largest = Math.max(...values.map(Math.abs));
  const [size, sign] = largest >= 1e6 ? [1e6, "M"] : largest >= 1e4 ? [1e3, "k"] : [1, ""];
  const spread = values.length > 1 ? values[1] - values[0] : 0;
  const texts = values.map((value) => {
    if (value === 0) return "0";
    if (size === 1 || Math.abs(value) < size / 1e3) return tickText(value);
    return `${Number((value / size).toPrecision(5))}${sign}`.replace(/^-/, "−");
  });
  if (new Set(texts).size === texts.length) return texts;
  const digits = Math.max(0, Math.min(12, 1 - Math.floor(Math.log10(spread || 1))));
  return values.map((value) => value.toFixed(digits).replace(/^-/, "−"));
}

function secondsText(value: number): string {
  if (value === 0) return "0 s";
  if (value < 60) return `${Number(value.toPrecision(4))} s`;
  if (value < 3600 && value % 60 === 0) return `${value / 60} min`;
  if (value % 3600 === 0 && value < 86_400) return `${value / 3600} h`;
  return formatSeconds(value);
}

/** The part of a zoomed axis. */
export interface Window {
  from: number;
  to: number;
}

/** Share of the whole axis below which no zoom goes. */
const CLOSEST = 1 / 2000;

/** Zooms about a value. @param factor above 1 zooms in @returns null for the whole axis */
export function zoomed(whole: Window, now: Window | null, factor: number, about: number): Window | null {
  const { from, to } = now ?? whole;
  const centre = Math.min(to, Math.max(from, about));
  return inside(whole, { from: centre - (centre - from) / factor, to: centre + (to - centre) / factor });
}

/** The window between two values in any order, or null if they are too close to mean a selection. */
export function selected(whole: Window, a: number, b: number): Window | null {
  const [from, to] = [Math.max(whole.from, Math.min(a, b)), Math.min(whole.to, Math.max(a, b))];
  return to - from > (whole.to - whole.from) * CLOSEST ? inside(whole, { from, to }) : null;
}

function inside(whole: Window, { from, to }: Window): Window | null {
  const [low, high] = [Math.max(whole.from, from), Math.min(whole.to, to)];
  if (low <= whole.from && high >= whole.to) return null;
  const least = (whole.to - whole.from) * CLOSEST;
  return high - low >= least ? { from: low, to: high } : { from: low, to: low + least };
}

/** Points within a window. A line that crosses an edge gets a point on it. */
export function within(points: Points, { from, to }: Window): Points {
  const kept: (readonly [number, number])[] = [];
  for (const [i, point] of points.entries()) {
    const [x] = point;
    const before = points[i - 1];
    if (before)
      for (const edge of [from, to]) if (before[0] < edge && x > edge) kept.push(crossing(before, point, edge));
    if (x >= from && x <= to) kept.push(point);
  }
  return kept;
}

function crossing(
  [x0, y0]: readonly [number, number],
  [x1, y1]: readonly [number, number],
  edge: number,
): [number, number] {
  return [edge, y0 + ((y1 - y0) * (edge - x0)) / (x1 - x0)];
}

/** The index of the value nearest to `at`, the lower of two equally near; −1 if there are none. @param sorted ascending */
export function nearest(sorted: ArrayLike<number>, at: number): number {
  if (sorted.length === 0) return -1;
  let [low, high] = [0, sorted.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= at) low = middle;
    else high = middle;
  }
  return Math.abs(sorted[high] - at) < Math.abs(sorted[low] - at) ? high : low;
}
