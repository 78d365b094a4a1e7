import { expect, it } from "vitest";
import { epochAfter } from "../../src/train/epoch.ts";

// transformers 5.18 logged the expected values: Trainer with 10 rows, batches of 2, logging_steps 1.
const LOGGED = [
  { accumulation: 1, epochs: [0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.4, 1.6, 1.8, 2] },
  { accumulation: 2, epochs: [0.4, 0.8, 1, 1.4, 1.8, 2] },
  { accumulation: 3, epochs: [0.6, 1, 1.6, 2] },
  { accumulation: 8, epochs: [1, 2] },
];

it.each(LOGGED)(
  "logs the epochs that transformers logs: 5 micro-batches, $accumulation a step",
  ({ accumulation, epochs }) => {
    const shape = {
      microBatchesPerEpoch: 5,
      stepsPerEpoch: Math.ceil(5 / accumulation),
      gradient_accumulation_steps: accumulation,
    };
    const logged = epochs.map((_, step) => epochAfter(step + 1, shape));
    for (const [i, epoch] of epochs.entries()) expect(logged[i]).toBeCloseTo(epoch, 12);
    expect(epochAfter(0, shape)).toBe(0);
  },
);
