import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type HeldOutFields, splitsOwnRows } from "../../src/cli/sources/held-out.ts";
import { splitRows } from "../../src/data/split-rows.ts";
import { changedOrder, changedRounding, roundingOf, type TrainerState } from "../../src/train/checkpoint.ts";

const file = join(mkdtempSync(join(tmpdir(), "rows-")), "rows.jsonl");
writeFileSync(file, '{"text":"a"}\n');
const fields: HeldOutFields = {
  datasets: null,
  dataset_name: file,
  dataset_train_split: "train",
  dataset_test_split: "test",
  eval_dataset_name: null,
  dataset_options: null,
  test_split_size: null,
  eval_strategy: "steps",
};

describe("a data set is never its own evaluation set", () => {
  it("refuses one file, under whichever name, and one split", () => {
    expect(() => splitsOwnRows(fields)).toThrow(`Cannot evaluate on the training rows: ${file} is one file`);
    expect(() => splitsOwnRows({ ...fields, eval_dataset_name: `${file}` })).toThrow(
      "Hold out some rows with test_split_size",
    );
    expect(() => splitsOwnRows({ ...fields, dataset_name: "org/set", dataset_test_split: "train" })).toThrow(
      "split train of org/set",
    );
  });

  it("accepts separate data", () => {
    expect(splitsOwnRows({ ...fields, eval_strategy: "no" })).toBe(false);
    expect(splitsOwnRows({ ...fields, dataset_name: "org/set" })).toBe(false);
    expect(splitsOwnRows({ ...fields, eval_dataset_name: "org/other" })).toBe(false);
    expect(splitsOwnRows({ ...fields, dataset_options: { shares: { train: 0.5, test: 0.5 } } })).toBe(false);
    expect(splitsOwnRows({ ...fields, test_split_size: 0.1 })).toBe(true);
  });

  it("refuses a size that is not used", () => {
    expect(() => splitsOwnRows({ ...fields, test_split_size: 1, eval_strategy: "no" })).toThrow("eval_strategy is no");
    expect(() => splitsOwnRows({ ...fields, test_split_size: 1, eval_dataset_name: "x" })).toThrow(
      "remove one of them",
    );
  });

  it("holds rows out, by seed", async () => {
    const rows = async function* () {
      for (let i = 0; i < 24; i++) yield { row: { i }, number: i + 1, file };
    };
    const { train, held } = await splitRows(rows(), 0.25, 1);
    expect([train.length, held.length]).toEqual([18, 6]);
    expect([...train, ...held].map(({ number }) => number).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 24 }, (_, i) => i + 1),
    );
    expect((await splitRows(rows(), 0.25, 1)).held).toEqual(held);
    expect((await splitRows(rows(), 6, 2)).held).not.toEqual(held);
    await expect(splitRows(rows(), 24, 1)).rejects.toThrow("Cannot keep test_split_size 24 of 24 rows");
  });
});

describe("a resume in another order gives a note", () => {
  const state = (order: Record<string, unknown> | undefined) =>
    ({ qwench: { seed: 1, order } }) as unknown as TrainerState;
  it("names each field", () => {
    const before = { seed: 1, data_seed: null, per_device_train_batch_size: 4 };
    expect(changedOrder(state(before), { ...before })).toEqual([]);
    expect(changedOrder(state(before), { ...before, seed: 2, per_device_train_batch_size: 8 })).toEqual([
      "seed was 1 and is 2",
      "per_device_train_batch_size was 4 and is 8",
    ]);
    expect(changedOrder(state(undefined), { seed: 2 })).toEqual(["seed was 1 and is 2"]);
  });

  it("names what the device rounds otherwise, also where the recipe is the same and the device is not", () => {
    const before = roundingOf({ precision: "high", activations: "f32" });
    const of = (rounding?: typeof before) => ({ qwench: { seed: 1, rounding } }) as unknown as TrainerState;
    expect(changedRounding(of(before), before)).toEqual([]);
    expect(changedRounding(of(before), roundingOf({ precision: "highest", activations: "bf16" }))).toEqual([
      "matmul_precision was high and is highest",
      "bf16 was false and is true",
    ]);
    expect(changedRounding(of(undefined), before)).toEqual([]);
  });
});
