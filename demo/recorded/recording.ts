import type { Evaluation, RunEvent, RunRecord, SolvedProblem } from "../../src/client/types.ts";

/** A real run as a file: its record before the first step, and its events with their times. */
export interface Recording {
  version: 1;
  /** ISO date */
  recorded: string;
  /** the adapter that it ran on */
  device: string;
  /** whether that adapter computes on the CPU */
  software: boolean;
  /** seconds of the whole run */
  seconds: number;
  record: RunRecord;
  /** milliseconds since the start, ascending */
  events: [ms: number, event: RunEvent][];
}

/** Milliseconds between two progress events that are kept. */
const PROGRESS_MS = 500;
/** Completions that are kept of a batch: one group. */
const KEPT = 8;

/**
 * A recording that is small enough for a page: less progress, one group of completions a step, numbers of five digits, and
 * each answer once.
 */
export function compact(recording: Recording): Recording {
  let [last, what] = [Number.NEGATIVE_INFINITY, ""];
  const events = recording.events.flatMap(([ms, event]): Recording["events"] => {
    if (event.type === "checkpoint") return [];
    if (event.type === "progress") {
      const ends = event.total !== null && event.done >= event.total;
      if (event.what === what && !ends && ms - last < PROGRESS_MS) return [];
      [last, what] = [ms, event.what];
    }
    if (event.type === "generated") event = { ...event, records: event.records.slice(0, KEPT) };
    // `expand` takes them from the solved problems
    if (event.type === "evaluated") event = { ...event, evaluation: { ...event.evaluation, problems: [] } };
    return [[Math.round(ms), rounded(event)]];
  });
  return { ...recording, seconds: Math.round(recording.seconds), events };
}

/** Undoes what `compact` leaves out of evaluations. */
export function expand(recording: Recording): Recording {
  const solved = new Map<string, SolvedProblem[]>();
  const key = ({ stage, phase }: Pick<Evaluation, "stage" | "phase">) => `${stage}/${phase}`;
  const events = recording.events.map(([ms, event]): [number, RunEvent] => {
    if (event.type === "solved") {
      const own = solved.get(key(event)) ?? [];
      own[event.index] = event.problem;
      solved.set(key(event), own);
    }
    if (event.type !== "evaluated") return [ms, event];
    const problems = solved.get(key(event.evaluation)) ?? [];
    return [ms, { ...event, evaluation: { ...event.evaluation, problems } }];
  });
  return { ...recording, events };
}

function rounded<T>(value: T): T {
  if (typeof value === "number") return (Number.isInteger(value) ? value : Number(value.toPrecision(5))) as T;
  if (Array.isArray(value)) return value.map(rounded) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, rounded(one)])) as T;
}
