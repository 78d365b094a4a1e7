/** Progress of a run. */
export interface Mark {
  /** milliseconds */
  time: number;
  /** optimizer steps taken */
  step: number;
  /** tokens counted */
  tokens: number;
}

/**
 * Speed metrics since the previous log. Both exclude the time of checkpoints and evaluations, as far as that can be
 * measured.
 */
export interface Speed {
  /** Starts the clock of a run. */
  begin(mark: Mark): void;
  /** Returns the speed since the last log, and restarts. */
  log(mark: Mark): Record<string, number>;
  /** Call it after a checkpoint or an evaluation. */
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

/** `step_time`, seconds per step: the mean over all steps since the last log. */
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
