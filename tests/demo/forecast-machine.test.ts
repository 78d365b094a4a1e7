import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Ask, aboutSeconds, ForecastMachine, type ForecastState, verdictOf } from "../../demo/forecast/machine.ts";
import type { ForecastEvent, JobPlan } from "../../src/client/types.ts";

// The forecast of the page, without a document: a fake worker answers late, out of order and after it was told to stop.

/** A plan all of whose figures and sentences name their draft. */
function planOf(draft: number, exact: boolean): JobPlan {
  return {
    phases: [
      {
        method: "sft",
        memory: { peak: draft, byKind: { weights: draft } },
        trainable: draft,
        parameters: draft,
        rows: draft,
        max_steps: draft,
        notes: [`of ${draft}`],
      },
    ],
    fits: true,
    problem: null,
    error: null,
    download: draft,
    exact,
    available: null,
    disk: { run: draft, free: draft },
    time: exact ? { seconds: draft, phases: [draft], heldOut: 0, basis: "measurement" } : null,
    ways: [],
  };
}

/** Every number and every number in a sentence of a state. */
function figuresOf(state: ForecastState): number[] {
  const figures: number[] = [];
  JSON.stringify(state, (key, value) => {
    if (typeof value === "number" && key !== "share" && key !== "heldOut") figures.push(value);
    if (typeof value === "string") for (const [digits] of value.matchAll(/\d+/g)) figures.push(Number(digits));
    return value instanceof Error ? value.message : value;
  });
  return figures;
}

/** A generator of numbers in [0, 1), the same on every machine. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe("the forecast of changing drafts", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  test("200 random changes: no state shows a figure or a sentence of another draft, and the last one is shown in full", async () => {
    const random = seeded(20);
    let aborted = 0;
    const ask: Ask<number> = async function* (draft, signal): AsyncGenerator<ForecastEvent> {
      const deaf = random() < 0.5; // goes on after it was told to stop, as a worker that is busy
      for (let i = 0; i < 4; i++) {
        await wait(random() * 300);
        if (signal.aborted) {
          aborted++;
          if (!deaf) throw new Error(`stopped ${draft}`);
        }
        if (i === 1 && random() < 0.1) throw new Error(`failed ${draft}`);
        if (i === 0) yield { type: "plan", plan: planOf(draft, false) };
        else if (i === 3) yield { type: "plan", plan: planOf(draft, true) };
        else yield { type: "progress", what: `reading ${draft}`, done: draft, total: random() < 0.5 ? null : draft };
      }
    };
    let present = 0;
    const seen = { quick: 0, exact: 0, wrong: 0, empty: 0 };
    const strange: unknown[] = []; // the machine would take an error thrown here for one of the forecast
    const machine = new ForecastMachine<number>(ask, (state) => {
      if (figuresOf(state).some((figure) => figure !== present)) strange.push({ present, state });
      if (state.state === "wrong") seen.wrong++;
      else if (state.state === "ready") seen.exact++;
      else if (state.state === "working" && state.plan) seen.quick++;
      else seen.empty++;
    });
    for (let change = 1; change <= 200; change++) {
      present = 100 + change;
      if (random() < 0.1) {
        machine.update(`Choose a model for ${present}.`);
        expect(machine.state).toEqual({ state: "missing", text: `Choose a model for ${present}.` });
      } else {
        machine.update(present);
        expect(machine.state).toMatchObject({ state: "working", plan: null });
      }
      await vi.advanceTimersByTimeAsync(random() < 0.3 ? 0 : random() * 900);
      expect(figuresOf(machine.state).filter((figure) => figure !== present)).toEqual([]);
    }
    expect(strange).toEqual([]);
    expect(aborted).toBeGreaterThan(30);
    expect(Math.min(...Object.values(seen))).toBeGreaterThan(5);
    present = 500;
    machine.update(present);
    await vi.advanceTimersByTimeAsync(5000);
    expect(["ready", "wrong"]).toContain(machine.state.state);
  });

  test("quick, then exact, then with a measurement; an end without a result is an error", async () => {
    const events: ForecastEvent[] = [
      { type: "plan", plan: planOf(7, false) },
      { type: "progress", what: "reading rows", done: 3200, total: null },
      { type: "plan", plan: planOf(7, true) },
      { type: "progress", what: "measuring", done: 1, total: 4 },
      { type: "plan", plan: planOf(7, true) },
    ];
    const states: ForecastState[] = [];
    const ask: Ask<string[]> = async function* (_job) {
      for (const event of events) {
        await wait(1);
        yield event;
      }
    };
    const machine = new ForecastMachine<string[]>(ask, (state) => states.push(state));
    machine.update([]);
    await vi.advanceTimersByTimeAsync(100);
    const short = states.map((state) => [
      state.state,
      "what" in state ? state.what : null,
      "share" in state && state.share,
    ]);
    expect(short).toEqual([
      ["working", "working it out", null],
      ["working", "reading the rows", null],
      ["working", "reading rows: 3,200", null],
      ["ready", null, null],
      ["ready", "measuring", 0.25],
      ["ready", null, null],
    ]);
    events.length = 0;
    machine.update([]);
    await vi.advanceTimersByTimeAsync(100);
    expect(machine.state).toMatchObject({ state: "wrong" });
  });
});

test("the verdict: too large, tight above 85 % of what is free, else it fits; unknown without a known size", () => {
  const plan = planOf(85, true);
  expect(verdictOf({ ...plan, fits: false, available: 1000 })).toBe("large");
  expect(verdictOf({ ...plan, fits: false, available: 1000, error: "MemoryError" })).toBe("large");
  expect(verdictOf({ ...plan, fits: false, available: 1000, error: "NotFoundError" })).toBe("cannot");
  expect(verdictOf({ ...plan, available: 99 })).toBe("tight");
  expect(verdictOf({ ...plan, available: 101 })).toBe("fits");
  expect(verdictOf(plan)).toBe("unknown");
});

test("a duration is no more exact than a forecast", () => {
  const said = [3, 44, 80, 290, 700, 3250, 3500, 7400, 12_000, 90_000, 400_000].map(aboutSeconds);
  expect(said).toEqual([
    "under a minute",
    "under a minute",
    "about 1 min",
    "about 5 min",
    "about 10 min",
    "about 55 min",
    "about 1 h",
    "about 2 h",
    "about 3 h 20 min",
    "about 25 h",
    "about 5 days",
  ]);
});
