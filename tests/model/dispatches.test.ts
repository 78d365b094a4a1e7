import { describe, expect, it, vi } from "vitest";
import { fakeGpu } from "../../src/gpu/fake-device.ts";
import { Recorder } from "../../src/gpu/recorder.ts";
import type { LoraConfig } from "../../src/model/adapters/lora.ts";
import { buildModel } from "../../src/model/build.ts";
import { SlotCache } from "../../src/model/cache.ts";
import { parseModelConfig } from "../../src/model/config.ts";
import { decodeStep } from "../../src/model/generate/decode.ts";
import type { Transformer } from "../../src/model/transformer.ts";
import { PROJECTIONS } from "./projections.ts";

// Dispatches of a block with LoRA on its seven projections: the difference between models with one more block.

const LORA: LoraConfig = { r: 16, lora_alpha: 32, lora_dropout: 0, use_rslora: false, target_modules: PROJECTIONS };
const GPU = { maxBufferSize: 2 ** 31, maxStorageBufferBindingSize: 2 ** 31 };

function modelOf(layers: number, model_type: "qwen2" | "qwen3", lora: LoraConfig): Transformer {
  const config = {
    model_type,
    hidden_size: 896,
    intermediate_size: 4864,
    num_hidden_layers: layers,
    num_attention_heads: 14,
    num_key_value_heads: 2,
    head_dim: 64,
    vocab_size: 4096,
    max_position_embeddings: 32768,
    rms_norm_eps: 1e-6,
    rope_theta: 1000000,
    tie_word_embeddings: true,
  };
  return buildModel(fakeGpu({ limits: GPU }), parseModelConfig(config, model_type), { lora }, () => "bf16").model;
}

/** Number of dispatches in a recording. */
function count(model: Transformer, run: (record: Recorder) => void): number {
  const dispatch = vi.spyOn(Recorder.prototype as unknown as { emit(): void }, "emit");
  try {
    const record = model.gpu.recorder();
    record.scope(() => run(record));
    return dispatch.mock.calls.length;
  } finally {
    dispatch.mockRestore();
  }
}

function aBlock(
  type: "qwen2" | "qwen3",
  lora: LoraConfig,
  run: (model: Transformer) => (record: Recorder) => void,
): number {
  // the first block passes no gradient on, so count a further block
  const [two, three] = [2, 3].map((layers) => {
    const model = modelOf(layers, type, lora);
    return count(model, run(model));
  });
  return three - two;
}

const batch = { input_ids: [1, 2, 3, 4, 5], position_ids: [0, 1, 2, 3, 4], cu_seqlens: [0, 5] };
const targets = { rows: Uint32Array.from([0, 1]), tokens: Uint32Array.from([2, 3]) };
const forward = (model: Transformer) => (record: Recorder) => void model.forward(record, batch);
const training = (model: Transformer) => (record: Recorder) => {
  const options = { dropoutSeed: 1 };
  model.run(record, batch, targets, options, (recorder, _rows, _start, size) =>
    recorder.zeros([size], "f32", "dObjective"),
  );
};
const decoding = (longest: number) => (model: Transformer) => (record: Recorder) => {
  const u32 = (label: string) => record.empty([2], "u32", label);
  const cache = new SlotCache(model.gpu, model.weights.blocks, 2, 256);
  decodeStep(record, model, cache, {
    tokens: u32("tokens"),
    positions: u32("positions"),
    slots: u32("slots"),
    longest,
  });
};

describe("a block of Qwen2 with LoRA on seven projections", () => {
  it("takes at most 14 dispatches forward", () => {
    expect(aBlock("qwen2", LORA, forward)).toBeLessThanOrEqual(14);
  });

  it.each([
    // a GPU splits the long sums of LoRA's gradients, and adds the parts afterwards
    ["without dropout", 0, 32],
    ["with dropout", 0.05, 35], // three products of those are then by themselves
  ])("takes at most 32 backward, or 35: %s", (_, lora_dropout, most) => {
    const lora = { ...LORA, lora_dropout };
    const backward = aBlock("qwen2", lora, training) - aBlock("qwen2", lora, forward);
    expect(backward).toBeLessThanOrEqual(most);
  });

  it("takes at most 12 per token in decoding, for any context length", () => {
    // a GPU computes both norms and LoRA's hidden rows apart, so that more workgroups compute them
    for (const longest of [20, 200]) expect(aBlock("qwen2", LORA, decoding(longest))).toBeLessThanOrEqual(12);
  });
});

it("a block of Qwen3 takes at most four dispatches more forward: its heads are normed", () => {
  expect(aBlock("qwen3", LORA, forward) - aBlock("qwen2", LORA, forward)).toBeLessThanOrEqual(4);
});
