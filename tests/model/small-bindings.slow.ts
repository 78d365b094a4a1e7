import { expect, it } from "vitest";
import { GRPO_LOSS_DEFAULTS } from "../../shaders/loss/grpo-losses.ts";
import { shapeOf } from "../../src/cli/commands/recipe.ts";
import { readPublished } from "../../src/cli/sources/published.ts";
import { requestGpu } from "../../src/gpu/device.ts";
import { sizeOf } from "../../src/gpu/tensor.ts";
import { buildModel } from "../../src/model/build.ts";
import { parseModelConfig } from "../../src/model/config.ts";
import { generate } from "../../src/model/generate/generate.ts";
import { openAdapter } from "../../src/platform/index.ts";
import { forecastOf } from "../../src/session/recipe-forecast.ts";
import { grpoObjective } from "../../src/train/grpo/objective.ts";
import { Optimizer, update } from "../../src/train/optimizer.ts";
import { integers } from "../train/fixtures.ts";

// Full training as open-rs3 was published, on an adapter of WebGPU's most common limits: its tables have 0.9 GiB each.

const LIMITS = { maxBufferSize: 2 ** 31 - 4, maxStorageBufferBindingSize: 2 ** 27 };
/** Layers of the step that runs: the least with a layer before and after another. Its widths are the published ones. */
const LAYERS = 2;
const [PROMPT, COMPLETION] = [6, 2];

const { recipe } = readPublished("open-rs3", "grpo", {});
const shape = shapeOf(recipe);

/** A device that has these limits and no more. */
async function smallGpu() {
  const { adapter, waiting } = await openAdapter();
  const get = (target: GPUAdapter, name: string) => {
    if (name === "limits") return new Proxy(target.limits, { get: limit });
    const value = Reflect.get(target, name, target);
    return typeof value === "function" ? value.bind(target) : value;
  };
  const limit = (limits: GPUSupportedLimits, name: string) =>
    LIMITS[name as keyof typeof LIMITS] ?? Reflect.get(limits, name, limits);
  return requestGpu(new Proxy(adapter, { get }), { waiting });
}

it("all layers are forecast", async () => {
  const whole = await forecastOf(recipe, "grpo", { shape, longest: 256 });
  const small = await forecastOf(recipe, "grpo", { shape, longest: 256, limits: LIMITS });
  expect(small.parameters).toBe(whole.parameters);
  expect(small.peak).toBeLessThan(1.05 * whole.peak);
});

it("the first step runs at full width", async () => {
  const gpu = await smallGpu();
  expect(gpu.device.limits).toMatchObject(LIMITS);
  const config = parseModelConfig({ ...shape, num_hidden_layers: LAYERS }, "open-rs3");
  const { model, slots } = buildModel(gpu, config, "all", () => "f32");
  const store = model.store!;
  expect(store.shards.length).toBeGreaterThan(1);
  const next = integers(3);
  const block = Float32Array.from({ length: 1 << 20 }, () => (next(2001) - 1000) / 30_000);
  for (const [name, shards] of slots) {
    for (const { tensor } of shards) {
      const count = sizeOf(tensor.shape);
      const values = name.endsWith("norm.weight") ? new Float32Array(count).fill(1) : block;
      for (let at = 0; at < count; at += values.length)
        gpu.write(tensor, values.subarray(0, Math.min(values.length, count - at)), 4 * at);
    }
  }
  const optimizer = new Optimizer(gpu, store, recipe);
  const requests = Array.from({ length: recipe.num_generations }, (_, sequence) => ({
    prompt_ids: Array.from({ length: PROMPT }, (_, i) => 7919 * (i + 1)),
    sequence,
  }));
  const { temperature, top_p, top_k, min_p, repetition_penalty } = recipe;
  const sampling = { temperature, top_p, top_k, min_p, repetition_penalty, seed: recipe.seed };
  const completions = await generate(model, requests, {
    ...sampling,
    max_new_tokens: COMPLETION,
    eos_token_ids: [],
    slots: requests.length,
  });
  expect(completions.map(({ ids }) => ids.length)).toEqual(requests.map(() => COMPLETION));
  const record = gpu.recorder();
  store.clearGrads(record);
  const result = grpoObjective(
    record,
    model,
    completions.map(({ ids, logps }, i) => ({
      prompt_ids: Uint32Array.from(requests[i].prompt_ids),
      completion_ids: Uint32Array.from(ids),
      advantage: i % 2 === 0 ? 1 : -1,
      old_logps: Float32Array.from(logps),
      ref_logps: null,
    })),
    {
      loss_type: "dapo",
      importance_sampling_level: "token",
      ...GRPO_LOSS_DEFAULTS,
      beta: 0,
      use_bias_correction_kl: true,
      off_policy_mask_threshold: null,
      top_entropy_quantile: 1,
      entropy_coef: null,
      temperature,
      max_completion_length: COMPLETION,
      num_items_in_batch: requests.length * COMPLETION,
    },
  );
  const before = await gpu.readF32(model.weights.norm.weight);
  const norm = update(record, store, optimizer, { step: 0, learning_rate: 0.001, max_grad_norm: 1 });
  const [gradNorm] = new Float32Array(await norm);
  expect(gradNorm).toBeGreaterThan(0);
  expect(Number.isFinite(gradNorm)).toBe(true);
  expect(Math.abs((await result).loss)).toBeLessThan(1);
  expect(await gpu.readF32(model.weights.norm.weight)).not.toEqual(before);
  gpu.destroy();
});
