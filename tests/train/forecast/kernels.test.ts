import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { configOf } from "../../../scripts/random-checkpoint.ts";
import type { Gpu } from "../../../src/gpu/device.ts";
import { fakeGpu } from "../../../src/gpu/fake-device.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { buildModel } from "../../../src/model/build.ts";
import { parseModelConfig } from "../../../src/model/config.ts";
import { recordGeneration } from "../../../src/model/generate/foresee.ts";
import { generate } from "../../../src/model/generate/generate.ts";
import { grpo, loadGrpo, prepareGrpo } from "../../../src/session/grpo.ts";
import { loadSft, prepareSft, sft } from "../../../src/session/sft.ts";
import { ownGpu } from "../../gpu/open.ts";
import { recipeOf, TINY, tinyModel, tinyRows } from "../fixtures.ts";
import { grpoRecipe, letters, sums, tinyChatModel } from "../grpo/fixtures.ts";

describe("kernels of a run", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await ownGpu();
  });
  afterAll(() => gpu.destroy());

  /** Kernels that `work` compiles at first use. */
  async function unforeseen(work: () => Promise<unknown>): Promise<string[]> {
    const made = vi.spyOn(gpu.device, "createComputePipeline");
    await work();
    const names = made.mock.calls.map(([{ label }]) => label ?? "");
    made.mockRestore();
    return names;
  }

  it("are known in advance for SFT: its first steps and its evaluation compile nothing", async () => {
    const recipe = recipeOf({ max_steps: 3, eval_strategy: "steps", eval_steps: 3, per_device_eval_batch_size: 5 });
    const sources = { gpu, model: await tinyModel(), train: tinyRows(40), eval: tinyRows(5, { seed: 8 }) };
    const prepared = await prepareSft(recipe, sources);
    const before = gpu.programs.size;
    const loading = await unforeseen(async () => {
      const trainee = await loadSft(recipe, prepared, sources, "tiny");
      expect(gpu.programs.size).toBeGreaterThan(before + 20);
      const run = sft(trainee, prepared.data, recipe, { output: memoryFolder("out"), resume: null });
      for await (const _ of run);
    });
    expect(loading).toEqual([]);
    await gpu.clear();
  });

  it("are known in advance for GRPO, including those of generation", async () => {
    const recipe = grpoRecipe({ max_steps: 2, beta: 0.1, num_iterations: 2, temperature: 0.8, top_k: 5 });
    const sources = { gpu, model: await tinyChatModel(), train: sums(20), rewards: [letters] };
    const prepared = await prepareGrpo(recipe, sources);
    const late = await unforeseen(async () => {
      const trainee = await loadGrpo(recipe, prepared, sources, "tiny");
      const run = grpo(trainee, prepared.data, recipe, { output: memoryFolder("out"), resume: null });
      for await (const _ of run);
    });
    expect(late).toEqual([]);
    await gpu.clear();
  });

  it("are known in advance for completions of any length and number", async () => {
    const config = parseModelConfig(configOf({ ...TINY, max_position_embeddings: 256 }));
    const sampling = { temperature: 0, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1.2 };
    const fake = fakeGpu(gpu);
    const planned = buildModel(fake, config, "none", () => "bf16").model;
    await recordGeneration(planned, { ...sampling, slots: 6, prompts: [3, 9], max_new_tokens: 100 });
    await gpu.prepare(fake.programs.kernels);
    const { model } = buildModel(gpu, config, "none", () => "bf16");
    const late = await unforeseen(() =>
      generate(
        model,
        [3, 9, 5, 3, 3, 7].map((length, i) => ({
          prompt_ids: new Array<number>(length).fill(1),
          sequence: i,
          max_new_tokens: [2, 4, 6, 8, 90, 100][i],
        })),
        { ...sampling, slots: 6, max_new_tokens: 100, eos_token_ids: [], seed: 1, block: 2 },
      ),
    );
    expect(late).toEqual([]);
    await gpu.clear();
  });
});
