import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ADAMW, loraOf } from "../../bench/models.ts";
import { benchModel } from "../../bench/sizes.ts";
import { fakeGpu } from "../../src/gpu/fake-device.ts";
import { Pace } from "../../src/gpu/pace.ts";
import { buildModel } from "../../src/model/build.ts";
import { worstBatch } from "../../src/train/forecast/sft.ts";
import { Optimizer } from "../../src/train/optimizer.ts";
import { sftStep } from "../../src/train/sft/step.ts";

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

function open(speed: number, kind: "gpu" | "cpu" = "cpu") {
  const queue = new Queue(speed);
  const pace = new Pace({ queue } as unknown as GPUDevice, (promise) => promise, { kind });
  /** a phase of kernels, split as a recorder splits it, then the end of the queue */
  const phase = async (kernels: readonly number[]) => {
    const from = queue.took.length;
    let held = 0;
    const flush = () => {
      if (held > 0) {
        queue.submit(held);
        pace.submitted(held);
      }
      held = 0;
    };
    for (const work of kernels) {
      held += work;
      if (held >= pace.limit) flush();
    }
    flush();
    pace.ended();
    await vi.runAllTimersAsync();
    return queue.took.slice(from);
  };
  const run = (total: number, each: number) => phase(new Array<number>(Math.ceil(total / each)).fill(each));
  return { queue, pace, phase, run };
}

/** Work of each dispatch of a LoRA step of Qwen2.5-0.5B's shapes, 4 × 1024 tokens, as the recorder counts it. */
function stepOf(layers: number): number[] {
  const config = benchModel(layers);
  const gpu = fakeGpu({ limits: { maxBufferSize: 2 ** 31, maxStorageBufferBindingSize: 2 ** 31 } });
  const { model } = buildModel(gpu, config, { lora: loraOf(config, 16) }, () => "bf16");
  const kernels: number[] = [];
  gpu.pace.budget = 0; // a submission a dispatch
  gpu.pace.submitted = (work) => void kernels.push(work);
  const options = { step: 0, learning_rate: 0, max_grad_norm: 1, label_smoothing_factor: 0, seed: 0 };
  sftStep(gpu.recorder(), model, new Optimizer(gpu, model.store!, ADAMW), worstBatch(4, 1024), {
    ...options,
    neftune_noise_alpha: null,
  }).catch(() => {});
  return kernels;
}

describe("the pace of submissions", () => {
  let step: number[] = [];
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["performance", "setTimeout"] });
    if (step.length === 0) step = stepOf(24);
  });
  afterEach(() => vi.useRealTimers());

  for (const teraflops of [5, 20, 80, 300]) {
    it(`at ${teraflops} TFLOP/s every submission of a step but the first takes 20 to 200 ms, or is the whole step`, async () => {
      const { phase } = open(teraflops * 1e9, "gpu");
      for (let n = 1; n <= 20; n++) {
        const took = await phase(step);
        if (n === 1 || took.length === 1) continue;
        expect(Math.min(...took), `step ${n}: ${took}`).toBeGreaterThanOrEqual(20);
        expect(Math.max(...took), `step ${n}: ${took}`).toBeLessThanOrEqual(200);
      }
    });
  }

  // operations a millisecond: 1 GFLOP/s to 100 TFLOP/s
  for (const speed of [1e6, 4e7, 1e9, 1e11]) {
    it(`is measured: at ${speed} a ms submissions come to last 100 ms, and none passes 200`, async () => {
      const { queue, run } = open(speed);
      for (let n = 0; n < 40; n++) await run(1000 * speed, speed);
      const late = queue.took.slice(-8);
      expect(Math.max(...late)).toBeLessThanOrEqual(200);
      expect(Math.min(...late)).toBeGreaterThan(80);
    });
  }

  it("follows an adapter that slows down within one submission", async () => {
    const { queue, run } = open(1e9);
    for (let n = 0; n < 40; n++) await run(3e11, 1e9);
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

  it("learns from many short submissions together", async () => {
    const { queue, pace } = open(1e9);
    for (let i = 0; i < 200; i++) {
      queue.submit(1e8); // 0.1 ms each
      pace.submitted(1e8);
    }
    await vi.runAllTimersAsync();
    expect(pace.budget).toBeGreaterThan(5e9);
  });

  it("waits for the first phase only", async () => {
    const { queue, pace } = open(1e9);
    let known = false;
    queue.submit(1e11);
    pace.submitted(1e11);
    void pace.known().then(() => (known = true));
    await vi.advanceTimersByTimeAsync(50);
    expect(known).toBe(false);
    await vi.runAllTimersAsync();
    expect(known).toBe(true);
    queue.submit(1e11);
    pace.submitted(1e11);
    await pace.known(); // without the clock going on
  });

  it("learns nothing from a trifle, from what was over at once, or from a device that is lost", async () => {
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
