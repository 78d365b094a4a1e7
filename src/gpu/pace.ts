import type { AdapterProfile } from "./profile.ts";

/** Where a submission should end: well below the 2 s after which Windows and browsers reset a GPU. */
const TARGET_MS = 100;
/** Busy time of the queue from which on a rate says more about the adapter than about submitting and clocks. */
const WORTH_MS = 10;
/** How many times as much work a submission may hold after one measurement: kernels differ in what a unit of work takes. */
const RISE = 8;
/** Work of the first submissions: on an old phone's GPU, and on a CPU, this is some 100 ms. */
const FIRST = { gpu: 2e10, cpu: 1e9 };
const [LEAST, MOST] = [1e7, 1e14];

/**
 * Measures how much work the adapter does in a millisecond, and from it how much one submission may hold.
 *
 * Time is that of the queue: a submission begins when the one before has ended. Short ones are measured together, for their
 * completions come in when the event loop has time.
 */
export class Pace {
  /** work units (roughly arithmetic operations) that one submission may hold */
  budget: number;
  private readonly device: GPUDevice;
  private readonly wait: <T>(promise: Promise<T>) => Promise<T>;
  private lastDone = 0;
  private busy = { work: 0, ms: 0 };
  /** work of the phase that is recorded, and of the last one that was split */
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

  /** Work at which a submission ends: the budget, or a little less where a phase like the last is then cut into equal parts. */
  get limit(): number {
    const parts = Math.ceil(this.expected / this.budget);
    return parts > 1 ? this.expected / parts : this.budget;
  }

  /** Once this adapter was measured. Until then it waits for what was submitted: the first phase should not be followed by blind ones. */
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
    // falls at once, for a reset is worse than a submission too many
    const fits = Math.min(busy.work / busy.ms, ms > TARGET_MS ? work / ms : Number.POSITIVE_INFINITY) * TARGET_MS;
    this.budget = Math.min(MOST, Math.max(LEAST, Math.min(fits, RISE * this.budget)));
    this.busy = { work: 0, ms: 0 };
  }
}
