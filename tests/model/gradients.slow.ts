import { afterAll, beforeAll, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/device.ts";
import { ownGpu } from "../gpu/open.ts";
import { TINY, tinyModel } from "../train/fixtures.ts";
import { checkGradients } from "./gradients.ts";
import { PROJECTIONS } from "./projections.ts";

// The check of gradients.test.ts with sizes that no kernel loads as whole vectors. They need kernels of their own, which
// compile for a minute on a CPU.

let gpu: Gpu;
beforeAll(async () => {
  gpu = await ownGpu();
});
afterAll(() => gpu.destroy());

const ODD = {
  ...TINY,
  hidden_size: 36,
  intermediate_size: 46,
  vocab_size: 63,
  num_attention_heads: 3,
  num_key_value_heads: 1,
};
const LORA = { r: 3, lora_alpha: 6, lora_dropout: 0, use_rslora: false, target_modules: PROJECTIONS };

it.each([
  ["all weights, qwen2", { lora: null, recompute: true }, ODD],
  ["LoRA, qwen2", { lora: LORA, recompute: false }, ODD],
  [
    "LoRA, qwen3",
    { lora: LORA, recompute: true },
    { ...ODD, model_type: "qwen3", head_dim: 20, tie_word_embeddings: false },
  ],
] as const)("of sizes that divide nothing are finite differences: %s", async (_, how, spec) => {
  const names = await checkGradients(gpu, await tinyModel(spec), how);
  expect(names.length).toBeGreaterThan(20);
});
