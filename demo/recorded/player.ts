import type { RunEvent } from "../../src/client/types.ts";
import type { Recording } from "./recording.ts";

/** Longest pause between two events while playing, milliseconds: nobody watches a compiler. */
const PAUSE = 1200;

/** Least times of events that come in bursts, milliseconds: an answer, and a look at all of them. */
const LEAST: Partial<Record<RunEvent["type"], number>> = { solved: 60, evaluated: 1500 };

/** When each event happens in a player that is `speed` times as fast, in milliseconds. */
export function timesOf(events: Recording["events"], speed: number): number[] {
  let [at, before] = [0, 0];
  return events.map(([ms, { type }]) => {
    at += Math.max(LEAST[type] ?? 0, Math.min(PAUSE, (ms - before) / speed));
    before = ms;
    return at;
  });
}

/** Plays a recording's events in order. */
export class Player {
  readonly #events: Recording["events"];
  readonly #times: number[];
  readonly #tell: (event: RunEvent, ms: number) => void;
  #next = 0;
  #at = 0;
  #timer: ReturnType<typeof setTimeout> | null = null;

  /** @param tell an event, and when it happened in the recorded run */
  constructor({ events }: Recording, speed: number, tell: (event: RunEvent, ms: number) => void) {
    this.#events = events;
    this.#times = timesOf(events, speed);
    this.#tell = tell;
  }

  get playing(): boolean {
    return this.#timer !== null;
  }

  get over(): boolean {
    return this.#next >= this.#events.length;
  }

  play(): void {
    if (this.playing || this.over) return;
    const wait = this.#times[this.#next] - this.#at;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#at = this.#times[this.#next];
      // events of one moment are told together
      while (!this.over && this.#times[this.#next] <= this.#at) this.#one();
      this.play();
    }, wait);
  }

  pause(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** Tells all that is left at once. */
  finish(): void {
    this.pause();
    while (!this.over) this.#one();
  }

  #one(): void {
    const [ms, event] = this.#events[this.#next++];
    this.#tell(event, ms);
  }
}
