import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { checkDisk, checkpointBytes, diskForecast } from "../../src/cli/runs/disk.ts";
import { QuotaError } from "../../src/errors.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { freeBytes } from "../../src/platform/node/fs.ts";
import { parseRecipe } from "../../src/recipe/recipe.ts";

const prepared = {
  forecast: { peak: 1, byKind: { optimizer: 8000 }, trainable: 1000, parameters: 1, tokens: 1 },
  batches: { max_steps: 100, stepsPerEpoch: 30 },
  companions: { "tokenizer.json": "x".repeat(500) },
};
const recipe = (values: object) => parseRecipe({ save_steps: 10, ...values }, "sft").recipe;

it.each([
  [{}, 10],
  [{ save_steps: 30 }, 4], // and after the last step
  [{ save_total_limit: 2 }, 3], // an old one goes when the next is whole
  [{ save_strategy: "epoch" }, 4],
  [{ save_strategy: "no" }, 0],
])("%j keeps %i checkpoints", (values, checkpoints) => {
  const wanted = { checkpoint: 12_500, checkpoints, total: checkpoints * 12_500 + 4500 };
  expect(diskForecast(recipe(values), prepared)).toEqual(wanted);
});

it("refuses a run that does not fit, with both numbers", () => {
  const needs = diskForecast(recipe({}), prepared);
  expect(() => checkDisk("out", 129_500, needs)).not.toThrow();
  expect(() => checkDisk("out", null, needs)).not.toThrow();
  expect(() => checkDisk("out", 129_499, needs)).toThrow(QuotaError);
  expect(() => checkDisk("out", 100_000, needs)).toThrow(
    /^Cannot train into out: 10 checkpoints of 13 kB and the result take 130 kB, but the disk has only 100 kB left\. Free/,
  );
});

it("counts checkpoints that are there already: a run that goes on after a full disk needs no room for them again", async () => {
  const output = memoryFolder("out");
  await output.write("report.html", "x".repeat(1000));
  for (const name of ["checkpoint-2", "checkpoint-10", "tmp-checkpoint-12", "completions"]) {
    await output.folder(name).write("optimizer.safetensors", new Uint8Array(300));
  }
  expect(await checkpointBytes(output)).toBe(900);
});

it("finds the free space for a folder that does not exist yet", async () => {
  const free = await freeBytes(join(tmpdir(), "not", "there", "yet"));
  expect(free).toBeGreaterThan(0);
});
