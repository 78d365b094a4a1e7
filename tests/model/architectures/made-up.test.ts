import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { UnsupportedError } from "../../../src/errors.ts";
import type { Gpu } from "../../../src/gpu/device.ts";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { loadAdapter, setAdapter } from "../../../src/model/adapters/loaded.ts";
import type { Architecture } from "../../../src/model/architectures/architecture.ts";
import { attentionBranch, DECODER_RULES, swigluBranch } from "../../../src/model/architectures/decoder.ts";
import { addArchitecture } from "../../../src/model/architectures/registry.ts";
import { ggufTensors } from "../../../src/model/files/gguf.ts";
import { loadModel } from "../../../src/model/files/load.ts";
import { writeMerged } from "../../../src/model/files/write-merged.ts";
import { generate } from "../../../src/model/generate/generate.ts";
import { shiftedTargets } from "../../../src/model/transformer.ts";
import { freshGpu } from "../../kernels/harness.ts";
import { recipeOf, TINY, tinyModel, tinyRows, train } from "../../train/fixtures.ts";
import { checkGradients, packedBatch } from "../gradients.ts";
import { PROJECTIONS } from "../projections.ts";

// Only a description: attention with a norm after it and none before it, as in OLMo 2; an MLP with both; biases for
// o_proj; no head norms.
const madeUp: Architecture = {
  model_type: "made_up",
  transformers: "MadeUpForCausalLM",
  about: "a test",
  rules: DECODER_RULES,
  head_dim: null,
  layer: (config, index) => ({
    prefix: `model.layers.${index}`,
    sublayers: [
      attentionBranch(
        config,
        { biases: { qkv: false, o: true }, headNorms: false },
        { pre: null, post: "post_attention_layernorm" },
      ),
      swigluBranch(config, { pre: "pre_feedforward_layernorm", post: "post_feedforward_layernorm" }),
    ],
  }),
  gguf: null,
};
const remove = addArchitecture(madeUp);
afterAll(remove);

// the shapes of tests/model/gradients.test.ts, to reuse its kernels
const SPEC = { ...TINY, model_type: "made_up", intermediate_size: 96, vocab_size: 64 };
const LORA = { r: 4, lora_alpha: 8, lora_dropout: 0, use_rslora: false, target_modules: PROJECTIONS };

let gpu: Gpu;
beforeAll(async () => {
  gpu = await freshGpu();
});
afterAll(() => gpu.clear());

describe("an architecture is a description", () => {
  it.each([true, false])("its gradients equal finite differences (recomputed: %s)", async (recompute) => {
    const folder = await tinyModel(SPEC);
    await checkGradients(gpu, folder, { lora: null, recompute });
    await checkGradients(gpu, folder, { lora: LORA, recompute });
  });

  it("is trained, saved, merged, loaded again and completes text", async () => {
    const model = await tinyModel({ ...SPEC, vocab_size: 256 });
    const recipe = recipeOf({ max_steps: 3, lora_target_modules: "all-linear" });
    const { output, logs } = await train(gpu, { recipe, model, rows: tinyRows(12) });
    expect(logs.at(-1)!.loss).toBeLessThan(logs[0].loss);
    const merged = memoryFolder("merged");
    const checkpoint = await openCheckpoint(model);
    await writeMerged(merged, checkpoint, output, { dtype: "F32" });
    expect([...(await openCheckpoint(merged)).tensors.keys()].sort()).toEqual([...checkpoint.tensors.keys()].sort());

    const { batch, labels } = packedBatch([9, 4], 256);
    const targets = shiftedTargets(batch, labels);
    const logps = async (folder: typeof model, adapter: boolean) => {
      const loaded = await loadModel(gpu, await openCheckpoint(folder));
      if (adapter) {
        setAdapter(loaded, await loadAdapter(loaded, output));
      }
      const record = gpu.recorder();
      const read = record.scope(() => record.read(loaded.run(record, batch, targets, {}, null)!.logp));
      record.submit();
      const text = await generate(loaded, [{ prompt_ids: [3, 1, 4], sequence: 0 }], {
        temperature: 0,
        top_k: 0,
        top_p: 1,
        min_p: 0,
        repetition_penalty: 1,
        max_new_tokens: 8,
        eos_token_ids: [],
        seed: 0,
      });
      return { logp: new Float32Array(await read), ids: text[0].ids };
    };
    const [want, got] = [await logps(model, true), await logps(merged, false)];
    for (const [i, value] of want.logp.entries()) expect(Math.abs(got.logp[i] - value)).toBeLessThan(1e-4);
    expect(got.ids).toEqual(want.ids);
  });

  it("is refused if llama.cpp does not implement the architecture", async () => {
    const checkpoint = await openCheckpoint(await tinyModel(SPEC));
    await expect(ggufTensors(checkpoint, null, "f16")).rejects.toThrow(UnsupportedError);
    await expect(ggufTensors(checkpoint, null, "f16")).rejects.toThrow(/made_up to GGUF: llama.cpp does not implement/);
  });
});
