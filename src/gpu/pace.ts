import type { AdapterProfile } from "./profile.ts";

/** Target duration of a submission: well below the 2 s after which Windows and browsers reset a GPU. */
const TARGET_MS = 100;
/** Least busy time of the queue for a rate that measures the adapter more than the submission and clocks. */
const WORTH_MS = 10;
/** Largest factor by which one measurement raises a submission's work: kernels differ in time per unit of work. */
const RISE = 8;
/** Work of the first submissions: about 100 ms on an old phone's GPU or on a CPU. */
const FIRST = { gpu: 2e10, cpu: 1e9 };
const [LEAST, MOST] = [1e7, 1e14];

/**
 * Measures the adapter's work per millisecond, and derives the work limit of a submission.
 *
 * Time means queue time: a submission begins when the previous one has ended. Short submissions are measured together,
 * because their completions arrive only when the event loop is free.
 */
export class Pace {
  /** work units (roughly arithmetic operations) per submission */
  budget: number;
  private readonly device: GPUDevice;
  private readonly wait: <T>(promise: Promise<T>) => Promise<T>;
  private lastDone = 0;
  private busy = { work: 0, ms: 0 };
  /** work of the phase being recorded, and of the last split phase */
  private phase = 0;
  private expected = 0;
  private measured = false;
  private last: Promise<void> = Promise.resolve();

  constructor(
    device: GPUDevice,
    wait: <T>(promise: Promise<T>) => Promise<T>,
    { kind }: Pick<AdapterProfile, "kind"> = { kind: "cpu" },
  ) {
    this.device = device;
    this.wait = wait;
    this.budget = FIRST[kind];
  }

  /**
   * Work at which a submission ends: the budget, or a little less so that a phase like the last is split into equal
   * parts.
   */
  get limit(): number {
    const parts = Math.ceil(this.expected / this.budget);
    return parts > 1 ? this.expected / parts : this.budget;
  }

  /**
   * Resolves once the adapter was measured: waits for the first phase, so that later phases are not submitted without a
   * rate.
   */
  async known(): Promise<void> {
    if (!this.measured) await this.last;
  }

  /** Call at the end of each phase, after its last submission. */
  ended(): void {
    if (this.phase > this.budget) this.expected = this.phase;
    this.phase = 0;
  }

  /** Call after each submit, with its work. */
  submitted(work: number): void {
    this.phase += work;
    if (work < LEAST) return;
    const start = performance.now();
    this.last = this.wait(this.device.queue.onSubmittedWorkDone()).then(
      () => {
        const now = performance.now();
        const ms = Math.max(0, now - Math.max(start, this.lastDone));
        this.lastDone = now;
        this.learn(work, ms);
      },
      () => {}, // a lost device reports itself
    );
  }

  private learn(work: number, ms: number): void {
    const { busy } = this;
    busy.work += work;
    busy.ms += ms;
    if (busy.ms < WORTH_MS) return;
    this.measured = true;
    // falls at once, because a reset is worse than an extra submission
    const fits = Math.min(busy.work / busy.ms, ms > TARGET_MS ? work / ms : Number.POSITIVE_INFINITY) * TARGET_MS;
    this.budget = Math.min(MOST, Math.max(LEAST, Math.min(fits, RISE * this.budget)));
    this.busy = { work: 0, ms: 0 };
  }
}
