import { beforeAll, describe, expect, it } from "vitest";
import { type CheckpointSpec, writeRandomCheckpoint } from "../../../scripts/random-checkpoint.ts";
import { ShapeError } from "../../../src/errors.ts";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { type AdapterTensor, readAdapter, writeAdapter } from "../../../src/io/peft.ts";
import type { Folder } from "../../../src/io/storage.ts";
import { relativeError } from "../../../src/kernels/check.ts";
import { loadAdapter, setAdapter } from "../../../src/model/adapters/loaded.ts";
import type { LoraConfig } from "../../../src/model/adapters/lora.ts";
import { initAdapter, type LoadOptions, loadModel } from "../../../src/model/files/load.ts";
import { saveAdapter } from "../../../src/model/files/save.ts";
import { writeMerged } from "../../../src/model/files/write-merged.ts";
import { type GenerateOptions, generate } from "../../../src/model/generate/generate.ts";
import type { Transformer } from "../../../src/model/transformer.ts";
import { uniformFrom } from "../../../src/train/seed.ts";
import { useGpu } from "../../kernels/harness.ts";

const SPEC: CheckpointSpec = {
  model_type: "qwen2",
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  vocab_size: 97,
  tie_word_embeddings: true,
  max_position_embeddings: 256,
  initializer_range: 0.25,
};
const DORA: LoraConfig = {
  r: 4,
  lora_alpha: 8,
  lora_dropout: 0,
  use_rslora: false,
  use_dora: true,
  target_modules: ["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
};
const GREEDY: GenerateOptions = {
  temperature: 0,
  top_k: 0,
  top_p: 1,
  min_p: 0,
  repetition_penalty: 1,
  max_new_tokens: 12,
  eos_token_ids: [],
  seed: 0,
};
const ids = [3, 1, 4, 1, 5, 9, 2, 6];
const batch = { input_ids: ids, position_ids: ids.map((_, i) => i), cu_seqlens: [0, ids.length] };

const device = useGpu();
let folder: Folder;

/** A model with a new DoRA adapter. */
async function fresh(options: LoadOptions = {}): Promise<Transformer> {
  const model = await loadModel(device(), await openCheckpoint(folder), { ...options, trained: { lora: DORA } });
  initAdapter(device(), model, uniformFrom(1));
  return model;
}

/** Moves every trained value, as training would. */
async function moved(model: Transformer): Promise<Transformer> {
  const { gpu, store } = model;
  const random = uniformFrom(2);
  for (const { name, data } of store!.split(await gpu.read(store!.values))) {
    const by = name.includes("magnitude") ? 0.3 : 0.1;
    store!.write(
      gpu,
      name,
      data.map((v) => v + by * (random() - 0.5)),
    );
  }
  return model;
}

async function saved(model: Transformer): Promise<Folder> {
  const made = memoryFolder("adapter");
  await saveAdapter(made, model, DORA, "base");
  return made;
}

beforeAll(async () => {
  folder = memoryFolder("base");
  await writeRandomCheckpoint(folder, SPEC, 3);
});

describe("a DoRA adapter", () => {
  it.each<[string, LoadOptions]>([
    ["f32", {}],
    ["bf16", { dtype: "bfloat16" }],
    ["nf4", { quantization: { type: "nf4", double: false } }],
    ["int8", { quantization: { type: "int8", double: false } }],
  ])("that is new leaves the output of a base in %s as it is", async (_, options) => {
    const base = await loadModel(device(), await openCheckpoint(folder), options);
    const model = await fresh(options);
    expect(relativeError(await model.logits(batch), await base.logits(batch))).toBeLessThan(2e-6);
  });

  it("runs the same when it is trained, saved and loaded beside the base, merged, and decoded token by token", async () => {
    const model = await moved(await fresh());
    const want = await model.logits(batch);
    const adapter = await saved(model);
    const checkpoint = await openCheckpoint(folder);
    const base = await loadModel(device(), checkpoint);
    expect(relativeError(await base.logits(batch), want)).toBeGreaterThan(0.02);
    setAdapter(base, await loadAdapter(base, adapter));
    expect(relativeError(await base.logits(batch), want)).toBeLessThan(2e-6);
    const merged = memoryFolder("merged");
    await writeMerged(merged, checkpoint, adapter, { dtype: "F32" });
    const whole = await loadModel(device(), await openCheckpoint(merged));
    expect(relativeError(await whole.logits(batch), want)).toBeLessThan(5e-6);
    const prompts = [[3, 1, 4], [9]].map((prompt_ids, sequence) => ({ prompt_ids, sequence }));
    const idsOf = async (of: Transformer) => (await generate(of, prompts, GREEDY)).map((made) => made.ids);
    const tokens = await idsOf(whole);
    expect(await idsOf(model)).toEqual(tokens);
    expect(await idsOf(base)).toEqual(tokens);
  });

  it("can be left out, and kept as a reference that training does not move", async () => {
    const model = await moved(await fresh());
    const before = [...(await model.logits(batch))];
    const base = await loadModel(device(), await openCheckpoint(folder));
    expect([...(await model.withoutAdapter().logits(batch))]).toEqual([...(await base.logits(batch))]);
    const reference = model.withFrozenAdapter();
    await moved(model);
    expect(relativeError(await model.logits(batch), before)).toBeGreaterThan(1e-3);
    expect([...(await reference.logits(batch))]).toEqual(before);
  });

  it("has the same gradients with and without gradient checkpointing", async () => {
    const model = await moved(await fresh());
    const grads = async (checkpointing: boolean) => {
      model.gradient_checkpointing = checkpointing;
      const record = device().recorder();
      record.clear(model.store!.grads);
      const targets = { rows: Uint32Array.of(1, 5), tokens: Uint32Array.of(4, 2) };
      model.run(record, batch, targets, {}, (r, _rows, _start, size) =>
        r.upload(new Float32Array(size).fill(-0.5), [size], "dObjective"),
      );
      const read = record.read(model.store!.grads);
      record.submit();
      return new Float32Array(await read);
    };
    const [kept, again] = [await grads(false), await grads(true)];
    expect(kept.some((v) => v !== 0)).toBe(true);
    expect(relativeError(again, kept)).toBeLessThan(1e-6);
  });
});

describe("the files of a DoRA adapter", () => {
  it("hold use_dora and a magnitude for each row, and are refused without them", async () => {
    const adapter = await readAdapter(await saved(await fresh()));
    expect(adapter.config.use_dora).toBe(true);
    const all: AdapterTensor[] = [];
    for (const [name, { shape }] of adapter.tensors) all.push({ name, shape, data: await adapter.read(name) });
    expect(all.filter(({ name }) => name.endsWith("lora_magnitude_vector"))).toHaveLength(12);
    const write = (tensors: AdapterTensor[], use_dora = true) =>
      writeAdapter(memoryFolder(), { ...adapter.config, use_dora }, tensors);
    const at = all.findIndex(({ name }) => name.endsWith("lora_magnitude_vector"));
    const missing = /use_dora is true and it has .*lora_A\.weight, but .*lora_magnitude_vector is missing/;
    await expect(write(all.toSpliced(at, 1))).rejects.toThrow(missing);
    await expect(write(all, false)).rejects.toThrow(`it has ${all[at].name}, but its use_dora is false`);
    const short = { ...all[at], shape: [3], data: new Float32Array(3) };
    await expect(write(all.with(at, short))).rejects.toThrow(ShapeError);
  });
});
