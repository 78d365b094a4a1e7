/** `lr_scheduler_kwargs` of reduce_lr_on_plateau, with torch's defaults. */
export interface PlateauOptions {
  mode: "min" | "max";
  factor?: number;
  /** evaluations without improvement that are put up with */
  patience?: number;
  threshold?: number;
  threshold_mode?: "rel" | "abs";
  /** evaluations after a reduction in which nothing is counted */
  cooldown?: number;
  min_lr?: number;
  /** a smaller change of the learning rate is none */
  eps?: number;
}

/** What it remembers: plain numbers for a checkpoint. */
export interface PlateauState {
  learning_rate: number;
  /** null before the first evaluation */
  best: number | null;
  num_bad_epochs: number;
  cooldown_counter: number;
}

/**
 * A learning rate that falls when evaluations get no better.
 *
 * @see torch.optim.lr_scheduler.ReduceLROnPlateau
 */
export class Plateau {
  state: PlateauState;
  private readonly options: Required<PlateauOptions>;

  constructor(learning_rate: number, options: PlateauOptions) {
    this.options = {
      factor: 0.1,
      patience: 10,
      threshold: 1e-4,
      threshold_mode: "rel",
      cooldown: 0,
      min_lr: 0,
      eps: 1e-8,
      ...options,
    };
    this.state = { learning_rate, best: null, num_bad_epochs: 0, cooldown_counter: 0 };
  }

  /** Takes in an evaluation. */
  step(metric: number): void {
    const { factor, patience, cooldown, min_lr, eps } = this.options;
    const state = { ...this.state };
    if (this.isBetter(metric)) {
      state.best = metric;
      state.num_bad_epochs = 0;
    } else state.num_bad_epochs++;
    if (state.cooldown_counter > 0) {
      state.cooldown_counter--;
      state.num_bad_epochs = 0;
    }
    if (state.num_bad_epochs > patience) {
      const lower = Math.max(state.learning_rate * factor, min_lr);
      if (state.learning_rate - lower > eps) state.learning_rate = lower;
      state.cooldown_counter = cooldown;
      state.num_bad_epochs = 0;
    }
    this.state = state;
  }

  private isBetter(metric: number): boolean {
    const { mode, threshold, threshold_mode } = this.options;
    const { best } = this.state;
    // of nothing yet: torch starts at an infinity, which every number is better than
    if (best === null) return Number.isFinite(metric);
    if (mode === "min") return metric < (threshold_mode === "rel" ? best * (1 - threshold) : best - threshold);
    return metric > (threshold_mode === "rel" ? best * (1 + threshold) : best + threshold);
  }
}
