import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Gpu } from "../../../src/gpu/device.ts";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { encodeSafetensors, openSafetensors } from "../../../src/io/safetensors.ts";
import type { Folder } from "../../../src/io/storage.ts";
import { loadAdapter, setAdapter } from "../../../src/model/adapters/loaded.ts";
import { cacheBytes, moduleNames } from "../../../src/model/architectures/tensors.ts";
import { SlotCache } from "../../../src/model/cache.ts";
import { configNotes, parseModelConfig } from "../../../src/model/config.ts";
import { loadModel } from "../../../src/model/files/load.ts";
import { openModel } from "../../../src/model/files/open.ts";
import { writeMerged } from "../../../src/model/files/write-merged.ts";
import { generate } from "../../../src/model/generate/generate.ts";
import { shiftedTargets, type Transformer } from "../../../src/model/transformer.ts";
import { freshGpu } from "../../kernels/harness.ts";
import { recipeOf, TINY_QWEN35, tinyModel, tinyRows, train } from "../../train/fixtures.ts";
import { checkGradients, type GradientCheck, packedBatch } from "../gradients.ts";
import { QWEN35_LINEARS } from "../qwen35.ts";

const ALL = QWEN35_LINEARS;
const LORA = { r: 4, lora_alpha: 8, lora_dropout: 0, use_rslora: false, target_modules: ALL };
const GREEDY = {
  temperature: 0,
  top_k: 0,
  top_p: 1,
  min_p: 0,
  repetition_penalty: 1,
  max_new_tokens: 6,
  eos_token_ids: [],
  seed: 0,
};

let gpu: Gpu;
beforeAll(async () => {
  gpu = await freshGpu();
});
afterAll(() => gpu.clear());

describe("its gradients are its finite differences", () => {
  it.each([
    ["all weights, blocks recomputed", { lora: null, recompute: true }],
    ["all weights, activations kept, untied", { lora: null, recompute: false, tied: false }],
    ["LoRA on all linear layers, blocks recomputed", { lora: LORA, recompute: true }],
    ["LoRA, activations kept, sequences longer than a chunk", { lora: LORA, recompute: false, lengths: [70, 2] }],
  ] as [string, GradientCheck & { tied?: boolean }][])("%s", async (_, { tied = true, ...how }) => {
    const names = await checkGradients(gpu, await tinyModel({ ...TINY_QWEN35, tie_word_embeddings: tied }), how);
    const kinds = how.lora ? ALL : [...ALL, "A_log", "dt_bias", "conv1d", "linear_attn.norm", "q_norm", "model.norm"];
    for (const kind of kinds) expect(names).toContainEqual(expect.stringContaining(kind));
  });
});

/** The next token by a whole forward pass, `count` times. */
async function byForwards(model: Transformer, prompt: readonly number[], count: number): Promise<number[]> {
  const ids = [...prompt];
  const { vocab_size } = model.config;
  for (let n = 0; n < count; n++) {
    const logits = await model.logits({
      input_ids: ids,
      position_ids: ids.map((_, t) => t),
      cu_seqlens: [0, ids.length],
    });
    const last = logits.subarray((ids.length - 1) * vocab_size);
    ids.push(last.indexOf(Math.max(...last)));
  }
  return ids.slice(prompt.length);
}

describe("generation", () => {
  it("takes the tokens of whole forward passes, whoever had the slot before and whoever shares the prompt", async () => {
    const model = await loadModel(gpu, await openCheckpoint(await tinyModel(TINY_QWEN35)));
    const prompt = (length: number, salt: number) =>
      Array.from({ length }, (_, i) => (7 * i * i + 13 * salt + i) % 256);
    const shared = prompt(66, 1);
    // one token: nothing is prefilled, so that a slot must forget what it held
    const prompts = [shared, shared, prompt(3, 2), prompt(1, 3), prompt(1, 4), prompt(2, 5)];
    const requests = prompts.map((prompt_ids, sequence) => ({ prompt_ids, sequence }));
    const made = await generate(model, requests, { ...GREEDY, slots: 2, block: 4 });
    for (const [i, { ids }] of made.entries())
      expect(ids, `prompt ${i}`).toEqual(await byForwards(model, prompts[i], 6));
  });

  it("has caches of the size that forecasts and limits go by", async () => {
    const model = await loadModel(gpu, await openCheckpoint(await tinyModel(TINY_QWEN35)));
    const cache = new SlotCache(gpu, model.weights.blocks, 3, 40);
    const tensors = cache.layers.flat().flatMap((each) => Object.values(each ?? {}));
    const bytes = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
    expect(bytes).toBe(3 * cacheBytes(model.config, 40).total);
    expect(Math.max(...tensors.map((tensor) => tensor.bytes))).toBe(3 * cacheBytes(model.config, 40).largest);
    cache.drop();
  });
});

/** The same checkpoint as it is published: part of a model with a vision tower. */
async function published(folder: Folder): Promise<Folder> {
  const made = memoryFolder("published");
  const { tensors, read, config } = await openCheckpoint(folder);
  const list = [];
  for (const [name, { dtype, shape }] of tensors) {
    list.push({ name: name.replace(/^model\./, "model.language_model."), dtype, shape, data: await read(name) });
  }
  for (const name of ["model.visual.pos_embed.weight", "mtp.norm.weight"]) {
    list.push({ name, dtype: "F32" as const, shape: [4], data: new Uint8Array(new Float32Array([1, 2, 3, 4]).buffer) });
  }
  await made.write("model.safetensors", encodeSafetensors(list, { format: "pt" }));
  const { tie_word_embeddings, architectures: _, ...text_config } = config;
  const json = {
    architectures: ["Qwen3_5ForConditionalGeneration"],
    model_type: "qwen3_5",
    image_token_id: 1,
    tie_word_embeddings,
    text_config,
    vision_config: {
      depth: 1,
      hidden_size: 16,
      intermediate_size: 16,
      num_heads: 2,
      num_position_embeddings: 4,
      out_hidden_size: config.hidden_size,
      patch_size: 4,
    },
  };
  await made.write("config.json", JSON.stringify(json));
  return made;
}

const namesOf = async (folder: Folder, file: string) => [
  ...(await openSafetensors(await folder.open(file))).tensors.keys(),
];

describe("files", () => {
  it("are read and written in the published layout, what is no text passed over and kept", async () => {
    const text = await tinyModel(TINY_QWEN35);
    const whole = await published(text);
    const { checkpoint, config, notes } = await openModel(whole);
    expect(notes).toEqual([]);
    await expect(loadModel(gpu, checkpoint, { vision: true })).rejects.toThrow(
      "tensor model.visual.patch_embed.proj.weight [16,3,2,4,4] is missing",
    );
    expect(config.layer_types).toEqual(["linear_attention", "full_attention", "linear_attention"]);
    const recipe = recipeOf({ max_steps: 8, lora_target_modules: "all-linear" });
    const { output, logs } = await train(gpu, { recipe, model: whole, rows: tinyRows(12) });
    expect(logs.at(-1)!.loss).toBeLessThan(logs[0].loss);
    const adapter = await namesOf(output, "adapter_model.safetensors");
    expect(adapter).toHaveLength(2 * (2 * 8 + 7));
    for (const name of adapter) expect(name).toMatch(/^base_model\.model\.model\.language_model\.layers\./);

    const merged = memoryFolder("merged");
    await writeMerged(merged, checkpoint, output, { dtype: "F32" });
    expect((await namesOf(merged, "model.safetensors")).sort()).toEqual(
      (await namesOf(whole, "model.safetensors")).sort(),
    );
    const { batch, labels } = packedBatch([9, 4], 256);
    const logps = async (folder: Folder, put: Folder | null) => {
      const loaded = await loadModel(gpu, (await openModel(folder)).checkpoint);
      if (put) setAdapter(loaded, await loadAdapter(loaded, put));
      const record = gpu.recorder();
      const targets = shiftedTargets(batch, labels);
      const read = record.scope(() => record.read(loaded.run(record, batch, targets, {}, null)!.logp));
      record.submit();
      return new Float32Array(await read);
    };
    const [want, got, alone] = [await logps(whole, output), await logps(merged, null), await logps(text, output)];
    for (const [i, value] of want.entries()) expect(Math.abs(got[i] - value)).toBeLessThan(1e-4);
    expect(alone).toEqual(want); // an adapter of either layout goes on either
  });

  it("of a fully trained model are those of the language model by itself", async () => {
    const recipe = recipeOf({ max_steps: 2, use_peft: false });
    const { output } = await train(gpu, {
      recipe,
      model: await published(await tinyModel(TINY_QWEN35)),
      rows: tinyRows(12),
    });
    const { config, notes } = await openModel(output);
    expect([config.model_type, notes]).toEqual(["qwen3_5_text", []]);
    expect(await namesOf(output, "model.safetensors")).toContain("model.layers.0.linear_attn.A_log");
  });

  it.each(["load_in_4bit", "load_in_8bit"])("are trained over quantised weights: %s", async (field) => {
    const recipe = recipeOf({ max_steps: 5, lora_target_modules: "all-linear", [field]: true });
    const { logs } = await train(gpu, { recipe, model: await tinyModel(TINY_QWEN35), rows: tinyRows(12) });
    expect(logs.at(-1)!.loss).toBeLessThan(logs[0].loss);
  });
});

describe("config.json", () => {
  const json = {
    model_type: "qwen3_5_text",
    hidden_size: 64,
    intermediate_size: 96,
    num_hidden_layers: 8,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    vocab_size: 100,
    max_position_embeddings: 512,
  };

  it("has transformers' defaults", () => {
    const { head_dim, rotary_dim, layer_types, delta, tie_word_embeddings } = parseModelConfig(json);
    expect({ head_dim, rotary_dim, tie_word_embeddings }).toEqual({
      head_dim: 256,
      rotary_dim: 64,
      tie_word_embeddings: false,
    });
    expect(layer_types!.flatMap((type, i) => (type === "full_attention" ? [i] : []))).toEqual([3, 7]);
    expect(delta).toEqual({ num_key_heads: 16, num_value_heads: 32, key_head_dim: 128, value_head_dim: 128 });
  });

  it("rotates by rope_parameters, whatever stands beside them", () => {
    const rope_parameters = { rope_theta: 1e7, partial_rotary_factor: 0.5, mrope_section: [3, 3, 2] };
    const config = parseModelConfig({ ...json, partial_rotary_factor: 0.125, rope_parameters });
    expect([config.rotary_dim, config.rope_theta]).toEqual([128, 1e7]);
    expect(parseModelConfig({ ...json, partial_rotary_factor: 0.125 }).rotary_dim).toBe(32);
    expect(configNotes({ ...json, partial_rotary_factor: 0.5, rope_parameters })).toEqual([]);
    expect(configNotes({ ...json, partial_rotary_factor: 0.125, rope_parameters })).toEqual([
      expect.stringMatching(
        /^config\.json has partial_rotary_factor 0\.125 beside 0\.5 in rope_parameters: rope_parameters is used/,
      ),
    ]);
  });

  it.each([
    [{ layer_types: ["full_attention"] }, /layer_types is/],
    [{ linear_conv_kernel_dim: 3 }, /linear_conv_kernel_dim is 3; it must be 4/],
    [{ linear_num_value_heads: 24 }, /linear_num_value_heads 24 is no multiple of linear_num_key_heads 16/],
    [{ linear_key_head_dim: 30 }, /must be multiples of 4/],
    [{ partial_rotary_factor: 1.5 }, /partial_rotary_factor is 1.5/],
    [{ model_type: "qwen3_5" }, /text_config must hold the language model's fields/],
  ])("refuses %j", (change, message) => {
    expect(() => parseModelConfig({ ...json, ...change })).toThrow(message);
  });

  it("names the layers that adapters may go on", () => {
    expect(moduleNames(parseModelConfig(json)).sort()).toEqual([...ALL].sort());
  });
});
