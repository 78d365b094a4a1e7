import { describe, expect, it } from "vitest";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { encodeSafetensors, type TensorData } from "../../../src/io/safetensors.ts";
import type { Folder } from "../../../src/io/storage.ts";
import { parseModelConfig } from "../../../src/model/config.ts";
import { loadModel } from "../../../src/model/files/load.ts";
import { openModel } from "../../../src/model/files/open.ts";
import { writeMerged } from "../../../src/model/files/write-merged.ts";
import { useGpu } from "../../kernels/harness.ts";
import { TINY, tinyModel } from "../../train/fixtures.ts";

/** A checkpoint with changed tensors and config.json. */
async function changed(
  change: (tensors: TensorData[]) => TensorData[],
  config: (text: string) => string = (text) => text,
  from?: Folder,
): Promise<Folder> {
  const model = from ?? (await tinyModel());
  const { tensors, read } = await openCheckpoint(model);
  const list: TensorData[] = [];
  for (const [name, { dtype, shape }] of tensors) list.push({ name, dtype, shape, data: await read(name) });
  const folder = memoryFolder("changed");
  await folder.write("model.safetensors", encodeSafetensors(change(list)));
  await folder.write("config.json", config(await model.readText("config.json")));
  return folder;
}

const withFields = (fields: object) => (text: string) => JSON.stringify({ ...JSON.parse(text), ...fields });

describe("openModel", () => {
  const gpu = useGpu();
  const logits = async (folder: Folder) => {
    const { checkpoint } = await openModel(folder);
    const model = await loadModel(gpu(), checkpoint);
    return model.logits({ input_ids: [3, 1, 4, 1, 5], position_ids: [0, 1, 2, 3, 4], cu_seqlens: [0, 5] });
  };

  it("reads a bare base model, whose tensor names lack model.", async () => {
    const bare = await changed((list) =>
      list.map((tensor) => ({ ...tensor, name: tensor.name.replace(/^model\./, "") })),
    );
    expect(await logits(bare)).toEqual(await logits(await tinyModel()));
    const merged = memoryFolder("merged");
    await writeMerged(merged, (await openModel(bare)).checkpoint, null);
    expect([...(await openCheckpoint(merged)).tensors.keys()]).toContain("model.layers.0.mlp.up_proj.weight");
  });

  it("uses a head that differs from its tied embedding, with a note; an equal head stays tied", async () => {
    const head = (list: TensorData[], odd: boolean): TensorData[] => {
      const table = list.find(({ name }) => name === "model.embed_tokens.weight")!;
      const data = (table.data as Uint8Array).slice();
      if (odd) data[data.length - 1] ^= 0x40;
      return [...list, { ...table, name: "lm_head.weight", data }];
    };
    const same = await openModel(await changed((list) => head(list, false)));
    expect([same.config.tie_word_embeddings, same.notes]).toEqual([true, []]);
    const other = await changed((list) => head(list, true));
    const opened = await openModel(other);
    expect(opened.config.tie_word_embeddings).toBe(false);
    expect(opened.notes.join()).toMatch(
      /ties the head to the embedding, but the weights have a different lm_head\.weight/,
    );
    const merged = memoryFolder("merged");
    await writeMerged(merged, opened.checkpoint, null);
    expect(JSON.parse(await merged.readText("config.json")).tie_word_embeddings).toBe(false);
  });

  it("ignores a tied head that is in the index but in no shard", async () => {
    const model = await changed((list) => list);
    const { tensors } = await openCheckpoint(model);
    const names = [...tensors.keys(), "lm_head.weight"];
    const folder = memoryFolder("indexed");
    const source = await model.open("model.safetensors");
    await folder.write("model-1.safetensors", await source.read(0, source.size));
    await folder.write("config.json", await model.readText("config.json"));
    const weight_map = Object.fromEntries(names.map((name) => [name, "model-1.safetensors"]));
    await folder.write("model.safetensors.index.json", JSON.stringify({ metadata: {}, weight_map }));
    await expect(openModel(folder)).resolves.toMatchObject({ config: { tie_word_embeddings: true } });
    await folder.write("config.json", withFields({ tie_word_embeddings: false })(await model.readText("config.json")));
    await expect(openModel(folder)).rejects.toThrow(/places the tensor lm_head\.weight in model-1\.safetensors/);
  });

  it("lists the fields of config.json without an effect", async () => {
    const notes = async (fields: object) => (await openModel(await changed((list) => list, withFields(fields)))).notes;
    expect(await notes({})).toEqual([]);
    expect(await notes({ rope_parameters: { rope_type: "default" }, rope_scaling: null })).toEqual([]);
    expect((await notes({ logit_scale: 2, nothing: null })).join()).toMatch(/does not use: logit_scale$/);
    const rope_scaling = { type: "yarn", factor: 4, original_max_position_embeddings: 48 };
    expect((await notes({ rope_scaling, rope_parameters: { rope_type: "default" } })).join()).toMatch(
      /rope_scaling is used/,
    );
  });

  it("keeps the spelling of numbers in copies", async () => {
    const model = await changed(
      (list) => list,
      (text) => text.replace('"rope_theta": 1000000', '"rope_theta": 1000000.0, "attention_dropout": 0.0'),
    );
    const merged = memoryFolder("merged");
    await writeMerged(merged, (await openModel(model)).checkpoint, null, { nf4: true });
    const text = await merged.readText("config.json");
    expect(text).toContain('"rope_theta": 1000000.0');
    expect(text).toContain('"attention_dropout": 0.0');
    expect(text).toContain('"llm_int8_threshold": 6.0');
  });
});

describe("fields of config.json follow transformers' precedence", () => {
  const base = { ...TINY, model_type: "qwen2" };
  it("rope_scaling precedes rope_parameters, and a theta inside either precedes the outer one", () => {
    const yarn = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 48 };
    const of = (fields: object) => parseModelConfig({ ...base, ...fields });
    expect(of({ rope_scaling: yarn, rope_parameters: { rope_type: "default" } }).rope_scaling?.factor).toBe(4);
    expect(of({ rope_scaling: {}, rope_parameters: yarn }).rope_scaling?.factor).toBe(4);
    expect(of({ rope_theta: 5, rope_parameters: { rope_theta: 7 } }).rope_theta).toBe(7);
    expect(of({ rope_theta: 5, rope_scaling: yarn, rope_parameters: { rope_theta: 7 } }).rope_theta).toBe(5);
    expect(of({ rope_scaling: { ...yarn, factor: null } }).rope_scaling?.factor).toBe(32_768 / 48);
    expect(of({ rope_scaling: { ...yarn, beta_fast: 0 } }).rope_scaling?.beta_fast).toBe(32);
    const outer = of({ rope_scaling: yarn, original_max_position_embeddings: 64 }).rope_scaling;
    expect(outer?.original_max_position_embeddings).toBe(64);
  });

  it("the default head_dim is 128 for qwen3, and hidden_size / num_attention_heads for qwen2", () => {
    expect(parseModelConfig({ ...base, model_type: "qwen3" }).head_dim).toBe(128);
    expect(parseModelConfig(base).head_dim).toBe(16);
  });

  it.each([
    [{ use_sliding_window: true, sliding_window: 32_768 }, true],
    [{ use_sliding_window: true, sliding_window: null }, true],
    [{ use_sliding_window: true, sliding_window: 64, max_window_layers: 2 }, true],
    [{ use_sliding_window: true, sliding_window: 64, layer_types: ["full_attention", "full_attention"] }, true],
    [{ use_sliding_window: true, sliding_window: 64, max_window_layers: 1 }, false],
  ])("%j: accepted is %s", (fields, accepted) => {
    const parse = () => parseModelConfig({ ...base, ...fields });
    if (accepted) expect(parse).not.toThrow();
    else expect(parse).toThrow(/use_sliding_window is true; it must be false, unless the window covers/);
  });
});
