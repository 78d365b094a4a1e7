import { describe, expect, test } from "vitest";
import { SPECS, writeRandomCheckpoint } from "../../../scripts/random-checkpoint.ts";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { bytesOf, encodeSafetensors, f32ToF16, type TensorData, toFloat32 } from "../../../src/io/safetensors.ts";
import type { Folder } from "../../../src/io/storage.ts";
import { exportFiles, openExport, writeExport } from "../../../src/session/export.ts";
import { TINY } from "../../train/fixtures.ts";
import { adapterFor, copyTinyTokenizer, mergedByHand } from "./fixtures.ts";

const request = (format: "merged_16bit" | "merged_4bit" | "lora") => ({ format, name: "m", base: "owner/base" });

async function shardedModel(): Promise<Folder> {
  const folder = memoryFolder("base");
  await writeRandomCheckpoint(folder, TINY, 1, { maxShardBytes: 80_000 });
  await copyTinyTokenizer(folder);
  return folder;
}

/** The model with its weights in another dtype. */
async function stored(from: Folder, dtype: "F32" | "F16"): Promise<Folder> {
  const base = await openCheckpoint(from);
  const folder = memoryFolder(dtype);
  const tensors = await Promise.all(
    [...base.tensors.values()].map(async ({ name, shape }) => {
      const values = toFloat32(await base.read(name), "BF16");
      return { name, dtype, shape, data: bytesOf(dtype === "F32" ? values : f32ToF16(values)) };
    }),
  );
  await folder.write("model.safetensors", encodeSafetensors(tensors));
  await folder.write("config.json", JSON.stringify({ ...base.config, torch_dtype: dtype }));
  return folder;
}

async function written(model: Folder, adapter: Folder | null, more: object = {}, format = "merged_16bit" as const) {
  const folder = memoryFolder("out");
  const names = await writeExport(folder, await openExport(model, adapter), { ...request(format), ...more });
  return { folder, names, checkpoint: await openCheckpoint(folder) };
}

/** Compares every tensor with W + s·B·A, within half a unit in the last place for a number of bits. */
async function expectMerged(folder: Folder, want: Map<string, Float64Array>, bits: number) {
  const { tensors, read } = await openCheckpoint(folder);
  expect([...tensors.keys()].sort()).toEqual([...want.keys()].sort());
  for (const [name, { dtype }] of tensors) {
    const got = toFloat32(await read(name), dtype);
    const values = want.get(name)!;
    let worst = 0;
    // half a unit, and what f32 sums lose before
    for (const [i, value] of got.entries()) {
      worst = Math.max(worst, Math.abs(value - values[i]) / (Math.abs(values[i]) * 2 ** -bits + 1e-7));
    }
    expect(worst, name).toBeLessThanOrEqual(1.001);
  }
}

describe("merged_16bit", () => {
  test("rewrites the base's shards under their names, with an index, config and tokenizer", async () => {
    const model = await shardedModel();
    const adapter = await adapterFor(model);
    const { folder, names, checkpoint } = await written(model, adapter);
    const shards = (await model.list()).filter((name) => /^model-.*\.safetensors$/.test(name));
    expect(shards.length).toBe(3);
    expect(names).toEqual([
      ...shards,
      "model.safetensors.index.json",
      "config.json",
      "generation_config.json",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    expect(await folder.list()).toEqual([...names].sort());
    const index = JSON.parse(await folder.readText("model.safetensors.index.json"));
    const before = JSON.parse(await model.readText("model.safetensors.index.json"));
    expect(index.weight_map).toEqual(before.weight_map);
    expect(index.metadata.total_size).toBe(checkpoint.totalBytes);
    expect(checkpoint.config).toEqual({
      ...(await openCheckpoint(model)).config,
      dtype: "bfloat16",
      torch_dtype: "bfloat16",
    });
    for (const name of ["generation_config.json", "tokenizer.json", "tokenizer_config.json"]) {
      expect(await folder.readText(name)).toBe(await model.readText(name));
    }
    await expectMerged(folder, await mergedByHand(model, adapter), 8);
    // tied: no head is made
    expect(checkpoint.tensors.has("lm_head.weight")).toBe(false);
    // tensors without an adapter equal the base's bytes
    const base = await openCheckpoint(model);
    const norm = "model.layers.1.input_layernorm.weight";
    expect(await checkpoint.read(norm)).toEqual(await base.read(norm));
  });

  test.each([
    ["F32", {}, "BF16", "bfloat16", 8],
    ["F32", { dtype: "F32" }, "F32", "float32", 24],
    ["F16", {}, "F16", "float16", 11],
    ["F16", { dtype: "BF16" }, "BF16", "bfloat16", 8],
  ] as const)("of a base in %s, asked for %j, is in %s", async (from, more, dtype, named, bits) => {
    const model = await stored(await shardedModel(), from);
    const adapter = await adapterFor(model, { use_rslora: false, modules: ["q_proj", "down_proj"] });
    const { folder, checkpoint } = await written(model, adapter, more);
    expect(new Set([...checkpoint.tensors.values()].map((tensor) => tensor.dtype))).toEqual(new Set([dtype]));
    expect(checkpoint.config).toMatchObject({ dtype: named, torch_dtype: named });
    await expectMerged(folder, await mergedByHand(model, adapter), bits);
  });

  test("keeps an untied head, and qwen3's norms", async () => {
    const model = memoryFolder("qwen3");
    const spec = { ...SPECS["qwen3-0.6b"], ...{ hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2 } };
    const heads = {
      num_attention_heads: 4,
      num_key_value_heads: 2,
      head_dim: 12,
      vocab_size: 64,
      initializer_range: 0.1,
    };
    await writeRandomCheckpoint(model, { ...spec, ...heads, tie_word_embeddings: false });
    const adapter = await adapterFor(model);
    const { folder, checkpoint } = await written(model, adapter);
    expect(checkpoint.tensors.has("lm_head.weight")).toBe(true);
    expect(checkpoint.tensors.has("model.layers.0.self_attn.q_norm.weight")).toBe(true);
    await expectMerged(folder, await mergedByHand(model, adapter), 8);
  });

  test("uses the tokenizer saved with the adapter", async () => {
    const model = await shardedModel();
    const adapter = await adapterFor(model);
    await copyTinyTokenizer(adapter);
    await adapter.write("chat_template.jinja", "{{ messages[0].content }}");
    const { folder, names } = await written(model, adapter);
    expect(names).toContain("chat_template.jinja");
    expect(await folder.readText("chat_template.jinja")).toBe("{{ messages[0].content }}");
  });

  test("yields one piece at a time, never a whole large tensor", async () => {
    const model = memoryFolder("wide");
    await writeRandomCheckpoint(model, { ...TINY, vocab_size: 40_000 }); // an embedding of 2.6 million values
    const source = await openExport(model, await adapterFor(model));
    let largest = 0;
    let [told, total] = [0, 0];
    const progress = { onProgress: (done: number, all: number) => ([told, total] = [done, all]) };
    for await (const { content } of exportFiles(source, { ...request("merged_16bit"), ...progress, dtype: "F16" })) {
      if (typeof content === "string" || content instanceof Uint8Array) continue;
      for await (const piece of content) largest = Math.max(largest, piece.length);
    }
    expect(largest).toBeLessThanOrEqual(2 << 20);
    expect(told).toBe(total);
    expect(total).toBe(source.checkpoint.totalBytes);
  });

  test("stops on request", async () => {
    const model = await shardedModel();
    const abort = new AbortController();
    const stop = { signal: abort.signal, onProgress: () => abort.abort(new Error("told to")) };
    await expect(written(model, await adapterFor(model), stop)).rejects.toThrow("told to");
  });

  test("refuses NaN, and values outside f16's range, and names them", async () => {
    const model = await stored(await shardedModel(), "F32");
    const adapter = await adapterFor(model, { size: 300 });
    await expect(written(model, adapter, { dtype: "F16" })).rejects.toThrow(
      /Cannot store model\.layers\.0\.\S+ as F16: it holds -?\d\S+, which is outside F16's range/,
    );
    const nan = await adapterFor(model, { size: Number.NaN });
    await expect(written(model, nan)).rejects.toThrow(
      /layers\.0\.\S+, merged with the adapter, holds a value that is not finite, at element 0/,
    );
    const spoilt = memoryFolder("spoilt");
    const base = await openCheckpoint(model);
    const tensors: TensorData[] = [];
    for (const { name, dtype, shape } of base.tensors.values()) {
      const data = Uint8Array.from(await base.read(name));
      if (name === "model.norm.weight") new DataView(data.buffer).setFloat32(20, Number.NaN, true);
      tensors.push({ name, dtype, shape, data });
    }
    await spoilt.write("model.safetensors", encodeSafetensors(tensors));
    await spoilt.write("config.json", JSON.stringify(base.config));
    await expect(written(spoilt, null, { dtype: "F32" })).rejects.toThrow(
      /Cannot export spoilt: model\.norm\.weight holds a value that is not finite, at element 5/,
    );
    const { hidden_size: _, ...rest } = base.config;
    await spoilt.write("config.json", JSON.stringify(rest));
    await expect(written(spoilt, null)).rejects.toThrow(/hidden_size must be a positive integer/);
  });
});

describe("merged_4bit", () => {
  test("has bitsandbytes' layout, and equals the merged model within NF4's steps", async () => {
    const model = await shardedModel();
    const adapter = await adapterFor(model);
    const { folder, checkpoint } = await written(model, adapter, {}, "merged_4bit" as never);
    expect(checkpoint.config.quantization_config).toMatchObject({
      quant_method: "bitsandbytes",
      load_in_4bit: true,
      bnb_4bit_quant_type: "nf4",
      bnb_4bit_use_double_quant: true,
      bnb_4bit_compute_dtype: "bfloat16",
    });
    const projections = [...checkpoint.weights].filter(([name]) => /_proj\.weight$/.test(name));
    expect(projections).toHaveLength(14);
    for (const [name, { dtype }] of projections) {
      expect(dtype).toBe("NF4");
      for (const part of [
        ".absmax",
        ".quant_map",
        ".nested_absmax",
        ".nested_quant_map",
        ".quant_state.bitsandbytes__nf4",
      ]) {
        expect(checkpoint.tensors.has(name + part)).toBe(true);
      }
    }
    expect(checkpoint.tensors.get("model.embed_tokens.weight")!.dtype).toBe("BF16");
    const index = JSON.parse(await folder.readText("model.safetensors.index.json"));
    expect(Object.keys(index.weight_map).sort()).toEqual([...checkpoint.tensors.keys()].sort());
    expect(index.metadata.total_size).toBe(checkpoint.totalBytes);

    const [want, got] = [await mergedByHand(model, adapter), await mergedByHand(folder, null)];
    expect([...got.keys()].sort()).toEqual([...want.keys()].sort());
    for (const [name] of projections) {
      const [w, g] = [want.get(name)!, got.get(name)!];
      for (let at = 0; at < w.length; at += 64) {
        const most = Math.max(...w.subarray(at, at + 64).map(Math.abs));
        // half of the map's widest step, 0.3038, and the scale's own 8 bits
        for (let i = at; i < Math.min(at + 64, w.length); i++) expect(Math.abs(g[i] - w[i])).toBeLessThan(most * 0.19);
      }
    }
  });

  test("of a 4-bit base is merged to 16 bits, without its quantization_config", async () => {
    const { folder: base } = await written(await shardedModel(), null, {}, "merged_4bit" as never);
    const adapter = await adapterFor(base);
    const { folder, checkpoint } = await written(base, adapter);
    expect(checkpoint.config).not.toHaveProperty("quantization_config");
    expect([...checkpoint.tensors.keys()].some((name) => /absmax|quant_/.test(name))).toBe(false);
    await expectMerged(folder, await mergedByHand(base, adapter), 8);
  });
});

describe("lora", () => {
  const out = async (model: Folder, adapter: Folder | null) => {
    const folder = memoryFolder("out");
    const names = await writeExport(folder, await openExport(model, adapter), request("lora"));
    return { folder, names };
  };

  test("is the adapter's folder, its config completed by the base's name", async () => {
    const model = await shardedModel();
    const adapter = await adapterFor(model);
    await copyTinyTokenizer(adapter);
    await adapter.write("metrics.jsonl", "{}\n");
    const { folder, names } = await out(model, adapter);
    expect(names).toEqual([
      "adapter_config.json",
      "adapter_model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    const config = JSON.parse(await folder.readText("adapter_config.json"));
    expect(config).toEqual({
      ...JSON.parse(await adapter.readText("adapter_config.json")),
      base_model_name_or_path: "owner/base",
    });
    const bytes = async (from: Folder) => {
      const source = await from.open("adapter_model.safetensors");
      return source.read(0, source.size);
    };
    expect(await bytes(folder)).toEqual(await bytes(adapter));
  });

  test("keeps its name, and refuses an adapter for another base", async () => {
    const model = await shardedModel();
    const { folder } = await out(model, await adapterFor(model, { base: "mine" }));
    expect(JSON.parse(await folder.readText("adapter_config.json")).base_model_name_or_path).toBe("mine");
    await expect(out(model, null)).rejects.toThrow(/there is no adapter to export/);
    await expect(out(model, await adapterFor(model, { size: Number.NaN }))).rejects.toThrow(
      /value that is not finite, at 0/,
    );
    const other = memoryFolder("other");
    await writeRandomCheckpoint(other, { ...TINY, hidden_size: 32 });
    await expect(out(model, await adapterFor(other))).rejects.toThrow(/The adapter is for another base model/);
  });
});
