/** Where a run stands. */
export interface Mark {
  /** milliseconds */
  time: number;
  /** optimizer steps taken */
  step: number;
  /** tokens counted */
  tokens: number;
}

/** The speed that logs state, measured since the log before. Checkpoints and evaluations are left out of the measure where a log can tell them apart. */
export interface Speed {
  /** The first mark of a run. */
  begin(mark: Mark): void;
  /** The speed since the last log, which begins again. */
  log(mark: Mark): Record<string, number>;
  /** A checkpoint or an evaluation has just ended. */
  paused(mark: Mark): void;
}

/** `tokens_per_second`, since the last log, checkpoint or evaluation. */
export class TokensPerSecond implements Speed {
  private since: Mark = { time: 0, step: 0, tokens: 0 };

  begin(mark: Mark): void {
    this.since = mark;
  }

  log(mark: Mark): Record<string, number> {
    const seconds = (mark.time - this.since.time) / 1000;
    const tokens_per_second = (mark.tokens - this.since.tokens) / Math.max(1e-3, seconds);
    this.since = mark;
    return { tokens_per_second };
  }

  paused(mark: Mark): void {
    this.since = mark;
  }
}

/** `step_time`, seconds a step: the mean over all steps since the last log. */
export class StepTime implements Speed {
  private since: Mark = { time: 0, step: 0, tokens: 0 };

  begin(mark: Mark): void {
    this.since = mark;
  }

  log(mark: Mark): Record<string, number> {
    const step_time = (mark.time - this.since.time) / 1000 / Math.max(1, mark.step - this.since.step);
    this.since = mark;
    return { step_time };
  }

  paused(mark: Mark): void {
    if (mark.step === this.since.step) this.since = mark;
  }
}
