/** What transformers keeps of its callback in trainer_state.json. */
export interface EarlyStoppingState {
  args: { early_stopping_patience: number; early_stopping_threshold: number };
  attributes: { early_stopping_patience_counter: number };
}

/** An evaluation by the metric that a run goes by. */
interface Measured {
  value: number;
  greater: boolean;
  /** of the evaluations before; null: none */
  best: number | null;
}

/**
 * Says when a run has got no better for `early_stopping_patience` evaluations in a row: by more than
 * `early_stopping_threshold` away from the best before.
 *
 * @see transformers' EarlyStoppingCallback
 */
export class EarlyStopping {
  private readonly patience: number;
  private readonly threshold: number;
  private counter = 0;

  constructor(fields: { early_stopping_patience: number; early_stopping_threshold: number }) {
    this.patience = fields.early_stopping_patience;
    this.threshold = fields.early_stopping_threshold;
  }

  /** Takes in an evaluation. @returns whether to stop */
  step({ value, greater, best }: Measured): boolean {
    const better = best === null || (greater ? value > best : value < best);
    this.counter = better && (best === null || Math.abs(value - best) > this.threshold) ? 0 : this.counter + 1;
    return this.counter >= this.patience;
  }

  get state(): EarlyStoppingState {
    return {
      args: { early_stopping_patience: this.patience, early_stopping_threshold: this.threshold },
      attributes: { early_stopping_patience_counter: this.counter },
    };
  }

  /** Goes on from what a checkpoint says of it. */
  resume(state: EarlyStoppingState | undefined): void {
    this.counter = state?.attributes?.early_stopping_patience_counter ?? 0;
  }

  /** What there is to say once `step` has said to stop. */
  text(metric: string, step: number, max_steps: number): string {
    const by = this.threshold > 0 ? ` by more than ${this.threshold}` : "";
    const times = this.patience === 1 ? "in the last evaluation" : `in ${this.patience} evaluations`;
    return `Early stopping after step ${step} of ${max_steps}: ${metric} has not improved${by} ${times}`;
  }
}
