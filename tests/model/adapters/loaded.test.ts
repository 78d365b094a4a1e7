import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { type CheckpointSpec, writeRandomCheckpoint } from "../../../scripts/random-checkpoint.ts";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { writeAdapter } from "../../../src/io/peft.ts";
import type { Folder } from "../../../src/io/storage.ts";
import { dropAdapter, loadAdapter, setAdapter } from "../../../src/model/adapters/loaded.ts";
import type { LoraConfig } from "../../../src/model/adapters/lora.ts";
import { parameterSpecs } from "../../../src/model/build.ts";
import { parseModelConfig } from "../../../src/model/config.ts";
import { fillAdapter, loadModel, openAdapterFor } from "../../../src/model/files/load.ts";
import { type GenerateOptions, generate } from "../../../src/model/generate/generate.ts";
import type { Transformer } from "../../../src/model/transformer.ts";
import { nodeFolder } from "../../../src/platform/node/fs.ts";
import { uniformFrom } from "../../../src/train/seed.ts";
import { useGpu } from "../../kernels/harness.ts";
import { GOLDEN } from "../../shared.ts";
import { PROJECTIONS } from "../projections.ts";

const SPEC: CheckpointSpec = {
  model_type: "qwen3",
  hidden_size: 48,
  intermediate_size: 80,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  vocab_size: 97,
  tie_word_embeddings: true,
  max_position_embeddings: 256,
  initializer_range: 0.25,
};
const GREEDY: GenerateOptions = {
  temperature: 0,
  top_k: 0,
  top_p: 1,
  min_p: 0,
  repetition_penalty: 1,
  max_new_tokens: 16,
  eos_token_ids: [],
  seed: 0,
};
const SMALL: LoraConfig = {
  r: 4,
  lora_alpha: 16,
  lora_dropout: 0.1,
  use_rslora: false,
  target_modules: ["q_proj", "down_proj"],
};
const LARGE: LoraConfig = { ...SMALL, r: 8, use_rslora: true, target_modules: PROJECTIONS };

const device = useGpu();
let folder: Folder;

/** A PEFT folder of random matrices. */
async function adapterFolder(lora: LoraConfig, seed: number, spec: CheckpointSpec = SPEC, bad?: number) {
  const made = memoryFolder(`adapter-${seed}`);
  const base = memoryFolder("base");
  await writeRandomCheckpoint(base, spec, 1);
  const config = parseModelConfig((await openCheckpoint(base)).config);
  const random = uniformFrom(seed);
  const tensors = parameterSpecs(config, { lora }).map(({ name, shape }) => ({
    name,
    shape,
    data: Float32Array.from({ length: shape[0] * shape[1] }, () => random() - 0.5),
  }));
  if (bad !== undefined) tensors[3].data[1] = bad;
  const settings = { ...lora, target_modules: [...lora.target_modules], base_model_name_or_path: "base" };
  await writeAdapter(made, settings, tensors);
  return made;
}

const idsOf = async (model: Transformer): Promise<number[][]> => {
  const prompts = [[3, 1, 4, 1, 5], [9], [2, 6, 5]].map((prompt_ids, sequence) => ({ prompt_ids, sequence }));
  return (await generate(model, prompts, GREEDY)).map(({ ids }) => ids);
};

/** The model loaded for training from an adapter: the swapped adapter must give the same output. */
async function trainable(adapterOf: Folder): Promise<Transformer> {
  const checkpoint = await openCheckpoint(folder);
  const { adapter, lora } = await openAdapterFor(parseModelConfig(checkpoint.config), adapterOf);
  const model = await loadModel(device(), checkpoint, { trained: { lora } });
  await fillAdapter(device(), model, adapter);
  return model;
}

beforeAll(async () => {
  folder = memoryFolder("base");
  await writeRandomCheckpoint(folder, SPEC, 3);
});

describe("an adapter beside a model", () => {
  it("can be set, removed and replaced without loading the base again", async () => {
    const [small, large] = [await adapterFolder(SMALL, 1), await adapterFolder(LARGE, 2)];
    const model = await loadModel(device(), await openCheckpoint(folder));
    const base = await idsOf(model);
    const [one, two] = [await loadAdapter(model, small), await loadAdapter(model, large)];
    expect(await idsOf(model)).toEqual(base); // loaded, but not set
    const [wantOne, wantTwo] = [await idsOf(await trainable(small)), await idsOf(await trainable(large))];
    expect(new Set([base, wantOne, wantTwo].map(String)).size).toBe(3);
    for (const [adapter, want] of [
      [one, wantOne],
      [two, wantTwo],
      [null, base],
      [one, wantOne],
    ] as const) {
      setAdapter(model, adapter);
      expect(await idsOf(model)).toEqual(want);
    }
    expect(await idsOf(model.withoutAdapter())).toEqual(base);
    setAdapter(model, null);
    const loaded = device().pool.ledger.byKind.weights!;
    await dropAdapter(one);
    await dropAdapter(two);
    const freed = loaded - device().pool.ledger.byKind.weights!;
    const bytes = [...one.tensors, ...two.tensors].reduce((sum, { block }) => sum + block!.size, 0);
    expect(freed).toBeGreaterThanOrEqual(bytes); // more if weights are copied to textures
    expect(await idsOf(model)).toEqual(base);
  });

  it("gives the same tokens as Hugging Face's greedy decoding", async () => {
    for (const name of ["qwen2", "qwen3"]) {
      const golden = nodeFolder(join(GOLDEN, name));
      const text = await golden.readText("case.json");
      const model = await loadModel(device(), await openCheckpoint(golden));
      setAdapter(model, await loadAdapter(model, golden.folder("adapter")));
      const cases: { prompt: number[]; completion: number[] }[] = JSON.parse(text).greedy_with_adapter;
      const requests = cases.map(({ prompt }, sequence) => ({ prompt_ids: prompt, sequence }));
      const made = await generate(model, requests, { ...GREEDY, max_new_tokens: cases[0].completion.length });
      expect(made.map(({ ids }) => ids)).toEqual(cases.map(({ completion }) => completion));
    }
  });

  it("is refused if it does not fit, and leaks no memory", async () => {
    const model = await loadModel(device(), await openCheckpoint(folder));
    const before = device().pool.ledger.allocated;
    const refused = async (adapter: Folder, text: RegExp) => {
      await expect(loadAdapter(model, adapter)).rejects.toThrow(text);
      expect(device().pool.ledger.allocated).toBe(before);
    };
    await refused(
      await adapterFolder(SMALL, 4, { ...SPEC, hidden_size: 64 }),
      /q_proj.*this base model requires \[4,48\]/,
    );
    await refused(
      await adapterFolder(SMALL, 4, { ...SPEC, num_hidden_layers: 3 }),
      /layers\.2.*this base model of 2 layers/,
    );
    await refused(await adapterFolder(SMALL, 4, { ...SPEC, num_hidden_layers: 1 }), /it lacks .*layers\.1/);
    await refused(await adapterFolder(SMALL, 4, SPEC, Number.NaN), /adapter-4: .*lora_B.* is not finite, at element 1/);
    const adapter = await loadAdapter(model, await adapterFolder(SMALL, 5));
    const other = await loadModel(device(), await openCheckpoint(folder));
    expect(() => setAdapter(other, adapter)).toThrow("it was loaded for another model");
    const trained = await trainable(await adapterFolder(SMALL, 5));
    expect(() => setAdapter(trained, null)).toThrow("loaded for training");
  });
});
