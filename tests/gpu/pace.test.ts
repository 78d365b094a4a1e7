import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Pace } from "../../src/gpu/pace.ts";

/** A queue that runs submissions in order, at a given speed in work per millisecond. */
class Queue {
  readonly took: number[] = [];
  private free = 0;
  private last: Promise<void> = Promise.resolve();
  speed: number;

  constructor(speed: number) {
    this.speed = speed;
  }

  submit(work: number): void {
    const ms = work / this.speed;
    this.took.push(ms);
    const end = Math.max(performance.now(), this.free) + ms;
    this.free = end;
    this.last = new Promise((done) => setTimeout(done, end - performance.now()));
  }

  onSubmittedWorkDone(): Promise<void> {
    return this.last;
  }
}

function open(speed: number) {
  const queue = new Queue(speed);
  const pace = new Pace({ queue } as unknown as GPUDevice, (promise) => promise);
  /** submits this much work in kernels of `each`, split as by a recorder, then waits for the queue */
  const run = async (total: number, each: number) => {
    let held = 0;
    for (let done = 0; done < total; done += each) {
      held += each;
      if (held < pace.budget && done + each < total) continue;
      queue.submit(held);
      pace.submitted(held);
      held = 0;
    }
    await vi.runAllTimersAsync();
  };
  return { queue, pace, run };
}

describe("the pace of submissions", () => {
  beforeEach(() => vi.useFakeTimers({ toFake: ["performance", "setTimeout"] }));
  afterEach(() => vi.useRealTimers());

  // operations a millisecond: 1 GFLOP/s to 100 TFLOP/s
  for (const speed of [1e6, 4e7, 1e9, 1e11]) {
    it(`is measured: at ${speed} a ms submissions come to last 100 ms, and none passes 200`, async () => {
      const { queue, run } = open(speed);
      for (let step = 0; step < 40; step++) await run(300 * speed, speed);
      const late = queue.took.slice(-8);
      expect(Math.max(...late)).toBeLessThanOrEqual(200);
      expect(Math.max(...late)).toBeGreaterThan(80);
    });
  }

  it("follows an adapter that slows down within one submission", async () => {
    const { queue, run } = open(1e9);
    for (let step = 0; step < 40; step++) await run(3e11, 1e9);
    queue.speed = 1e8;
    await run(3e11, 1e9);
    queue.took.length = 0;
    await run(3e11, 1e9);
    expect(Math.max(...queue.took)).toBeLessThanOrEqual(200);
  });

  it("measures a submission from its start in the queue, not from its submission", async () => {
    const { queue, pace } = open(1e7);
    pace.budget = 1e9;
    for (let i = 0; i < 10; i++) {
      queue.submit(1e9); // 100 ms each, all submitted at once
      pace.submitted(1e9);
    }
    await vi.runAllTimersAsync();
    expect(pace.budget).toBeCloseTo(1e9, -7);
  });

  it("ignores tiny submissions, submissions that ended at once, and a lost device", async () => {
    const { queue, pace, run } = open(1e9);
    const before = pace.budget;
    await run(5e6, 5e6);
    await run(2e7, 2e7);
    expect(pace.budget).toBe(before);
    queue.onSubmittedWorkDone = () => Promise.reject(new Error("lost"));
    pace.submitted(1e12);
    await vi.runAllTimersAsync();
    expect(pace.budget).toBe(before);
  });
});
