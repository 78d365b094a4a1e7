/** How an epoch divides into micro-batches and optimizer steps. */
interface EpochShape {
  /** forward and backward passes of one pass over the data */
  microBatchesPerEpoch: number;
  /** optimizer steps of one pass over the data: the last step may accumulate fewer micro-batches */
  stepsPerEpoch: number;
  gradient_accumulation_steps: number;
}

/**
 * `epoch` as transformers' Trainer logs it: whole passes, plus the current pass's share of micro-batches, not of steps.
 *
 * @param steps optimizer steps taken
 */
export function epochAfter(
  steps: number,
  { microBatchesPerEpoch, stepsPerEpoch, gradient_accumulation_steps }: EpochShape,
): number {
  if (steps === 0) return 0;
  const whole = Math.floor((steps - 1) / stepsPerEpoch);
  const micro = Math.min((steps - whole * stepsPerEpoch) * gradient_accumulation_steps, microBatchesPerEpoch);
  return whole + micro / microBatchesPerEpoch;
}
