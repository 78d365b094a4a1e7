/** Target duration of a submission: well below the 2 s after which Windows and browsers reset a GPU. */
const TARGET_MS = 100;

/** Measures the adapter's work per millisecond, and derives the work limit of a submission. */
export class Pace {
  /** work units (roughly arithmetic operations) per submission */
  budget = 1e9;
  private readonly device: GPUDevice;
  private readonly wait: <T>(promise: Promise<T>) => Promise<T>;
  private lastDone = 0;

  constructor(device: GPUDevice, wait: <T>(promise: Promise<T>) => Promise<T>) {
    this.device = device;
    this.wait = wait;
  }

  /** Call after each submit, with its work. */
  submitted(work: number): void {
    if (work < 1e7) return;
    const start = performance.now();
    void this.wait(this.device.queue.onSubmittedWorkDone()).then(
      () => {
        const now = performance.now();
        const ms = now - Math.max(start, this.lastDone);
        this.lastDone = now;
        if (ms < 1) return;
        const fits = (work / ms) * TARGET_MS;
        // Falls at once, because a reset is worse than an extra submission; rises slowly, because one sample may be too
        // fast.
        const next = fits < this.budget ? fits : 0.7 * this.budget + 0.3 * fits;
        this.budget = Math.min(1e13, Math.max(1e7, next));
      },
      () => {}, // a lost device reports itself
    );
  }
}
