import { afterAll, beforeAll, expect, it, vi } from "vitest";
import type { TokenizedRow } from "../../src/data/tokenize.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { loadSft, prepareSft, sft } from "../../src/session/sft.ts";
import { Optimizer } from "../../src/train/optimizer.ts";
import { evalBatches, sftStep } from "../../src/train/sft/step.ts";
import { ownGpu } from "../gpu/open.ts";
import { recipeOf, tinyModel, tinyRows } from "./fixtures.ts";

let gpu: Gpu;
beforeAll(async () => {
  gpu = await ownGpu();
});
afterAll(() => gpu.destroy());

async function prepared(max_steps: number) {
  const recipe = recipeOf({ max_steps, gradient_accumulation_steps: 2 });
  const sources = { gpu, model: await tinyModel(), train: tinyRows(40) };
  const { data, ...rest } = await prepareSft(recipe, sources);
  return { recipe, data, trainee: await loadSft(recipe, { data, ...rest }, sources, "tiny") };
}

it("a step is recorded and submitted, all its micro-batches and AdamW, in one turn of the event loop", async () => {
  const { recipe, data, trainee } = await prepared(1);
  const optimizer = new Optimizer(gpu, trainee.model.store!, recipe);
  const micro = evalBatches((data.train as TokenizedRow[]).slice(0, 8), 4);
  const options = { step: 0, learning_rate: 1e-3, max_grad_norm: 1, label_smoothing_factor: 0, seed: 0 };
  gpu.pace.budget = 1e6; // many submissions
  const submit = vi.spyOn(gpu.device.queue, "submit");
  const result = sftStep(gpu.recorder(), trainee.model, optimizer, micro, { ...options, neftune_noise_alpha: null });
  const labels = submit.mock.calls.flatMap(([buffers]) => [...buffers].map(({ label }) => label));
  submit.mockRestore();
  expect(labels.length).toBeGreaterThan(3);
  expect(labels.at(-1)).toMatch(/adamw/);
  expect((await result).loss).toBeGreaterThan(0);
  await gpu.clear();
});

it("a step is submitted before the numbers of the previous step have arrived", async () => {
  const steps = 4;
  const { recipe, data, trainee } = await prepared(steps);
  let submitted = 0;
  const waiting: { step: number; go(): void }[] = [];
  const endStep = vi.spyOn(gpu, "endStep").mockImplementation(() => {
    submitted++;
    for (const { step, go } of waiting) if (submitted > step + 1 || submitted === steps) go();
  });
  // no result arrives before the next step is submitted: waiting for it would never end
  const read = vi.spyOn(gpu.staging, "read").mockImplementation(async (buffer, bytes) => {
    const step = submitted;
    if (step < steps - 1) await new Promise<void>((go) => waiting.push({ step, go }));
    return Object.getPrototypeOf(gpu.staging).read.call(gpu.staging, buffer, bytes);
  });
  const losses: number[] = [];
  for await (const event of sft(trainee, data, recipe, { output: memoryFolder("out"), resume: null }))
    if (event.type === "step") losses.push(event.loss);
  for (const spy of [endStep, read]) spy.mockRestore();
  expect(losses).toHaveLength(steps);
  expect(losses.every((loss) => loss > 0)).toBe(true);
  await gpu.clear();
});
