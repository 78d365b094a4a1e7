import { describe, expect, it } from "vitest";
import { DataError } from "../../../src/errors.ts";
import { GrpoBatches, type GrpoBatchOptions } from "../../../src/train/grpo/batches.ts";

const options: GrpoBatchOptions = {
  per_device_train_batch_size: 4,
  gradient_accumulation_steps: 2,
  num_generations: 4,
  steps_per_generation: 2,
  num_iterations: 1,
  num_train_epochs: 1,
  max_steps: -1,
  shuffle_dataset: true,
  seed: 1,
  data_seed: null,
};
const batches = (values: Partial<GrpoBatchOptions> = {}, rows = 7) => new GrpoBatches(rows, { ...options, ...values });
const sorted = (values: readonly number[]) => [...values].sort((a, b) => a - b);

describe("GrpoBatches", () => {
  it("uses every prompt at most once per epoch, in a new order each time, and skips prompts that do not fill a batch", () => {
    const own = batches(); // 8 completions of 2 prompts a generation: 3 of them in 7 rows
    expect([own.size, own.prompts, own.stepsPerEpoch, own.max_steps]).toEqual([8, 2, 3, 3]);
    const epoch = (e: number) => [0, 1, 2].flatMap((g) => own.promptsOf(3 * e + g));
    expect(new Set(epoch(0)).size).toBe(6);
    expect(epoch(1)).not.toEqual(epoch(0));
    expect(batches({ shuffle_dataset: false }).promptsOf(1)).toEqual([2, 3]);
  });

  it("splits a generation batch into shuffled slices with each completion once", () => {
    const own = batches();
    const slices = own.step(1).map((at) => own.slice(at));
    expect(own.step(1)).toEqual([
      { generation: 1, slice: 0 },
      { generation: 1, slice: 1 },
    ]);
    expect(sorted(slices.flat())).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(slices.flat()).not.toEqual(sorted(slices.flat()));
  });

  it("uses a generation batch num_iterations times before it draws the next", () => {
    const own = batches({ num_iterations: 2, gradient_accumulation_steps: 1 });
    const micro = Array.from({ length: 8 }, (_, step) => own.step(step)).flat();
    expect(micro.map(({ generation, slice }) => `${generation}.${slice}`)).toEqual([
      "0.0",
      "0.1",
      "0.0",
      "0.1",
      "1.0",
      "1.1",
      "1.0",
      "1.1",
    ]);
    expect(own.stepsPerEpoch).toBe(12);
  });

  it("uses several generation batches in a step, and ends an epoch with a shorter step", () => {
    const own = batches({ gradient_accumulation_steps: 4, num_train_epochs: 2 });
    expect(own.stepsPerEpoch).toBe(2);
    expect(own.step(0).map(({ generation }) => generation)).toEqual([0, 0, 1, 1]);
    expect(own.step(1).map(({ generation }) => generation)).toEqual([2, 2]);
    expect(own.step(2)[0]).toEqual({ generation: 3, slice: 0 });
    expect(own.max_steps).toBe(4);
    expect(batches({ num_train_epochs: 0.5 }, 20).max_steps).toBe(5);
    expect(batches({ max_steps: 50 }).max_steps).toBe(50);
  });

  // TRL: gradient_accumulation_steps % (steps_per_generation * num_iterations) != 0
  it.each([
    [{}, false],
    [{ num_iterations: 2 }, true],
    [{ gradient_accumulation_steps: 1 }, true],
    [{ gradient_accumulation_steps: 4 }, false],
    [{ gradient_accumulation_steps: 3 }, true],
  ])("%j keeps old log-probs: %s", (values, expected) => {
    expect(batches(values).offPolicy).toBe(expected);
  });

  it("refuses groups that do not fill the batch, and too few prompts", () => {
    expect(() => batches({ num_generations: 3 })).toThrow(
      new DataError(
        "Cannot cut generation batches of 8 completions (per_device_train_batch_size 4 × steps_per_generation 2) into groups of num_generations 3",
      ),
    );
    expect(() => batches({}, 1)).toThrow(/needs 2 prompts \(8 completions, num_generations 4\), but there are 1/);
  });

  it("has a fingerprint that depends on prompts and batch sizes", () => {
    const rows = [{ prompt_ids: [1, 2] }, { prompt_ids: [3] }];
    const own = batches().fingerprint(rows);
    expect(batches().fingerprint(rows)).toBe(own);
    expect(batches().fingerprint([{ prompt_ids: [1] }, { prompt_ids: [2, 3] }])).not.toBe(own);
    expect(batches({ num_iterations: 2 }).fingerprint(rows)).not.toBe(own);
  });
});
