import type { Series } from "./metrics.ts";
import type { LogRecord } from "./text.ts";

/** What the x axis of a curve counts. */
export type XAxis = "step" | "tokens" | "time" | "epoch";

/** Each axis with its name on a chart. */
export const X_AXES: readonly { id: XAxis; title: string; unit: string }[] = [
  { id: "step", title: "Step", unit: "step" },
  { id: "tokens", title: "Tokens", unit: "tokens" },
  { id: "time", title: "Time", unit: "time" },
  { id: "epoch", title: "Epoch", unit: "epoch" },
];

/**
 * The place of each logged step on an axis. A log without the number keeps the place of the log before it.
 *
 * Time is the logged `elapsed` in seconds, else the sum of the steps' durations, which leaves out evaluations.
 *
 * @returns empty if no log has the number
 */
export function positions(logs: readonly LogRecord[], by: XAxis): ReadonlyMap<number, number> {
  const places = new Map<number, number>();
  const seconds = by === "time" && !logs.some((log) => number(log, "elapsed") !== null);
  let [place, step, tokens]: [number | null, number, number] = [null, 0, 0];
  for (const log of logs) {
    if (seconds) {
      const own = duration(log, step, tokens);
      if (own !== null) {
        place = (place ?? 0) + own;
        step = log.step;
        tokens = number(log, "num_tokens") ?? tokens;
      }
    } else if (by === "step") place = log.step;
    else {
      const own = number(log, { tokens: "num_tokens", time: "elapsed", epoch: "epoch" }[by]);
      // a resumed run's clock may begin again
      if (own !== null) place = Math.max(own, place ?? own);
    }
    if (place !== null) places.set(log.step, place);
  }
  return places;
}

/** Seconds of a log's steps, from their mean or from tokens and speed; null if it has neither, or is an evaluation. */
function duration(log: LogRecord, step: number, tokens: number): number | null {
  if (log.step <= step) return null;
  const each = number(log, "step_time");
  if (each !== null) return each * (log.step - step);
  const [speed, seen] = [number(log, "tokens_per_second"), number(log, "num_tokens")];
  return speed !== null && speed > 0 && seen !== null ? (seen - tokens) / speed : null;
}

/** Series over steps, moved onto an axis. Steps without a place are left out. */
export function placed(series: readonly Series[], places: ReadonlyMap<number, number>): Series[] {
  return series.map(({ points, ...rest }) => ({
    ...rest,
    points: points.flatMap(([step, y]) => {
      const x = places.get(step);
      return x === undefined ? [] : [[x, y] as const];
    }),
  }));
}

function number(log: LogRecord, name: string): number | null {
  const value = log[name];
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}
