import { describe, expect, it } from "vitest";
import { rowSet } from "../../../src/data/mixture.ts";
import type { NumberedRow } from "../../../src/data/row-error.ts";
import { DataError, TrainingError } from "../../../src/errors.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { prepareSft } from "../../../src/session/sft.ts";
import { openStream, RowStream } from "../../../src/train/sft/row-stream.ts";
import { useGpu } from "../../kernels/harness.ts";
import { contents, learnt, recipeOf, tinyModel, tinyRows, train } from "../fixtures.ts";

const PLAIN = {
  packing: false,
  packing_strategy: "bfd",
  max_length: 32,
  shuffle_dataset: false,
  seed: 1,
  data_seed: null,
};
const options = (values: Partial<typeof PLAIN> = {}) => ({ ...PLAIN, ...values }) as Parameters<typeof openStream>[2];
const opened = (rows: NumberedRow[], values: Partial<typeof PLAIN> = {}) =>
  openStream(rows, { tokenizer: null, max_length: 32 }, options(values));
const plain = (examples: Awaited<ReturnType<RowStream["next"]>>) =>
  examples.map((rows) => rows.map(({ input_ids }) => Array.from(input_ids)));

describe("a stream of rows", () => {
  it("reads rows in their order, epoch after epoch, and only those that it needs", async () => {
    const rows = tinyRows(5);
    rows[2].row.labels = (rows[2].row.labels as number[]).map(() => -100); // left out
    let read = 0;
    const counted = rowSet(async function* () {
      for (const row of rows) {
        read++;
        yield row;
      }
    });
    const stream = new RowStream(await openStream(counted, { tokenizer: null, max_length: 32 }, options()));
    read = 0;
    const first = plain(await stream.next(2));
    expect(read).toBe(2);
    const want = [0, 1, 3, 4, 0, 1, 3].map((i) => [rows[i].row.input_ids]);
    expect([...first, ...plain(await stream.next(5))]).toEqual(want);
  });

  it.each([
    ["plain", {}],
    ["packed", { packing: true }],
    ["shuffled", { shuffle_dataset: true }],
    ["shuffled and packed, wrapped", { shuffle_dataset: true, packing: true, packing_strategy: "wrapped" }],
  ])("goes on from any place with the same examples: %s", async (_, values) => {
    const rows = tinyRows(1100, { longest: 7 }); // more than a window
    const found = await opened(rows, values);
    const whole = new RowStream(found);
    const straight: unknown[] = [];
    const places = [];
    for (let i = 0; i < 40; i++) {
      places.push(whole.here);
      straight.push(...plain(await whole.next(61)));
    }
    expect(whole.here.epoch).toBeGreaterThan(0);
    for (const at of [1, 7, 17, 18, 33]) {
      const other = new RowStream(found);
      other.go(places[at]);
      expect(plain(await other.next(61))).toEqual(straight.slice(61 * at, 61 * (at + 1)));
    }
    if ("shuffle_dataset" in values) expect(straight[0]).not.toEqual([rows[0].row.input_ids]);
  });

  it("refuses no rows, rows without labels, and rows that cannot be read again", async () => {
    await expect(opened([])).rejects.toThrow("The data set has no rows");
    const rows = tinyRows(3).map((row) => ({ ...row, row: { ...row.row, labels: [-100, -100], input_ids: [1, 2] } }));
    await expect(new RowStream(await opened(rows)).next(1)).rejects.toThrow("None of the 3 rows has a label");
    const once = (function* () {
      yield* tinyRows(3);
    })();
    await expect(openStream(once, { tokenizer: null }, options())).rejects.toThrow(DataError);
  });
});

describe("training on a stream", () => {
  const gpu = useGpu();
  const STREAM = { dataset_streaming: true, max_length: 20, max_steps: 6, lora_dropout: 0.1 };

  it.each([
    ["plain rows", {}],
    [
      "packed rows with accumulation",
      { packing: true, gradient_accumulation_steps: 2, per_device_train_batch_size: 1 },
    ],
  ])("%s: six steps equal three, a kill during the fourth, and three more", async (_, values) => {
    const recipe = recipeOf({ ...STREAM, ...values, save_strategy: "steps", save_steps: 3 });
    const straight = await train(gpu(), { recipe });
    const output = memoryFolder("out");
    const first = await train(gpu(), { recipe, output, onEvent: (e) => e.type === "step" && e.step === 4 });
    const second = await train(gpu(), { recipe, output, resume: true });
    const before = first.logs.filter(({ step }) => step <= 3);
    expect(learnt([...before, ...second.logs])).toEqual(learnt(straight.logs));
    const file = "adapter_model.safetensors";
    expect((await contents(output))[file]).toBe((await contents(straight.output))[file]);
    await expect(train(gpu(), { recipe, output, resume: true, rows: tinyRows(40, { seed: 8 }) })).rejects.toThrow(
      "other rows",
    );
  });

  it("gives the numbers of rows that are held in memory, in their order", async () => {
    const shared = { ...STREAM, train_sampling_strategy: "sequential" };
    const streamed = await train(gpu(), { recipe: recipeOf(shared) });
    const held = await train(gpu(), { recipe: recipeOf({ ...shared, dataset_streaming: false }) });
    const losses = ({ logs }: typeof held) => logs.map(({ loss, grad_norm }) => [loss, grad_norm]);
    expect(losses(streamed)).toEqual(losses(held));
    const forecast = streamed.prepared.forecast.peak;
    expect(forecast).toBeGreaterThanOrEqual(held.prepared.forecast.peak);
  });

  it("a damaged row stops the run at its step, after a checkpoint of the steps before it", async () => {
    const rows = tinyRows(40);
    rows[37].row.labels = [1]; // the tenth step of four rows
    const recipe = recipeOf({ ...STREAM, max_steps: 12 });
    const output = memoryFolder("out");
    await expect(train(gpu(), { recipe, rows, output })).rejects.toThrow(TrainingError);
    await expect(train(gpu(), { recipe, rows, output: memoryFolder("b") })).rejects.toThrow("rows.jsonl, row 38");
    const mended = await train(gpu(), { recipe, rows: tinyRows(40), output, resume: true });
    expect(mended.events[0]).toEqual({ type: "start", max_steps: 12, global_step: 9 });
    const straight = await train(gpu(), { recipe });
    expect(learnt(mended.logs)).toEqual(learnt(straight.logs.slice(9)));
  });

  it("needs max_steps and max_length, and no rows that must be known whole", async () => {
    const bad: [Record<string, unknown>, string][] = [
      [{ max_steps: -1 }, "dataset_streaming needs max_steps"],
      [{ max_length: null }, "dataset_streaming needs max_length"],
      [{ train_sampling_strategy: "group_by_length" }, "dataset_streaming cannot group_by_length"],
      [{ test_split_size: 0.1, eval_strategy: "steps" }, "dataset_streaming cannot split off test_split_size"],
    ];
    for (const [values, message] of bad) expect(() => recipeOf({ ...STREAM, ...values })).toThrow(message);
    const sources = { gpu: gpu(), model: await tinyModel(), train: [] };
    await expect(prepareSft(recipeOf(STREAM), sources)).rejects.toThrow("The data set has no rows");
  });
});
