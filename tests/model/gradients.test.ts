import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/device.ts";
import { freshGpu } from "../kernels/harness.ts";
import { TINY, tinyModel } from "../train/fixtures.ts";
import { checkGradients } from "./gradients.ts";
import { PROJECTIONS } from "./projections.ts";

let gpu: Gpu;
beforeAll(async () => {
  gpu = await freshGpu();
});
afterAll(() => gpu.clear());

// heads and rank of other tests, to reuse their kernels
const SPEC = { ...TINY, intermediate_size: 96, vocab_size: 64 };
const MODELS = {
  "qwen2, tied": SPEC,
  "qwen3, untied": { ...SPEC, model_type: "qwen3", head_dim: 16, tie_word_embeddings: false },
};
const LORA = { r: 4, lora_alpha: 8, lora_dropout: 0, use_rslora: false, target_modules: PROJECTIONS };

describe.each(Object.entries(MODELS))("a whole model's gradients equal finite differences: %s", (_, spec) => {
  it.each([
    ["all weights, blocks recomputed", { lora: null, recompute: true }],
    ["all weights, activations kept", { lora: null, recompute: false }],
    ["LoRA, blocks recomputed", { lora: LORA, recompute: true }],
    ["LoRA, activations kept", { lora: LORA, recompute: false }],
    ["all weights, padded", { lora: null, recompute: true, width: 12 }],
    ["LoRA, padded", { lora: LORA, recompute: false, width: 12 }],
    ["one sequence alone", { lora: null, recompute: true, lengths: [12] }],
  ])("%s", async (_, how) => {
    const names = await checkGradients(gpu, await tinyModel(spec), how);
    expect(names.length).toBe(how.lora ? 2 * 14 : spec.model_type === "qwen3" ? 25 : 32 - 6);
    const own = spec.model_type === "qwen3" ? [/lm_head/, /q_norm/, /k_norm/] : [/[qkv]_proj\.bias/];
    const full = [/embed_tokens/, /input_layernorm/, /post_attention_layernorm/, /model\.norm/, ...own];
    for (const kind of how.lora ? [/lora_A/, /lora_B/] : full)
      expect(names).toContainEqual(expect.stringMatching(kind));
    for (const projection of PROJECTIONS) expect(names).toContainEqual(expect.stringContaining(projection));
  });
});
