import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GGMLQuantizationType, gguf } from "@huggingface/gguf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type CheckpointSpec,
  copyTokenizer,
  SPECS,
  writeRandomCheckpoint,
} from "../../../scripts/random-checkpoint.ts";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { toFloat32 } from "../../../src/io/safetensors.ts";
import type { Folder } from "../../../src/io/storage.ts";
import { parseModelConfig } from "../../../src/model/config.ts";
import { type GgufQuantization, ggufName } from "../../../src/model/files/gguf.ts";
import { nodeFolder } from "../../../src/platform/node/fs.ts";
import { openExport, openGgufCheckpoint, writeExport } from "../../../src/session/export.ts";
import { adapterFor, copyTinyTokenizer, mergedByHand } from "./fixtures.ts";

const root = mkdtempSync(join(tmpdir(), "gguf-"));
afterAll(() => rmSync(root, { recursive: true }));

const QWEN2: CheckpointSpec = { ...SPECS.tiny, vocab_size: 700, initializer_range: 0.1 };
const QWEN3: CheckpointSpec = {
  ...QWEN2,
  model_type: "qwen3",
  num_attention_heads: 3,
  num_key_value_heads: 1,
  head_dim: 24,
  tie_word_embeddings: false,
};

async function model(spec: CheckpointSpec, config: Record<string, unknown> = {}): Promise<Folder> {
  const folder = memoryFolder(spec.model_type);
  await writeRandomCheckpoint(folder, spec);
  await folder.write("config.json", JSON.stringify({ ...JSON.parse(await folder.readText("config.json")), ...config }));
  await copyTinyTokenizer(folder);
  return folder;
}

async function exported(base: Folder, adapter: Folder | null, quantization: GgufQuantization) {
  const out = mkdtempSync(join(root, "out-"));
  const request = { format: "gguf" as const, quantization, name: "my model", base: "" };
  const names = await writeExport(nodeFolder(out), await openExport(base, adapter), request);
  expect(names).toEqual([`my-model-${quantization.toUpperCase()}.gguf`]);
  return { folder: nodeFolder(out), file: names[0], path: join(out, names[0]) };
}

/** How far a value may be from its source, given the largest of its block. */
const BOUNDS: Record<string, (x: number, most: number) => number> = {
  F32: (x) => Math.abs(x) * 2 ** -23,
  F16: (x) => Math.abs(x) * 2 ** -11 + 2 ** -25,
  BF16: (x) => Math.abs(x) * 2 ** -8,
  Q8_0: (_, most) => (most / 127) * (0.5 + 127 * 2 ** -11),
  Q4_0: (_, most) => (most / 8) * (1 + 8 * 2 ** -11),
};

describe.each([
  ["qwen2, tied", QWEN2],
  ["qwen3, untied", QWEN3],
] as const)("%s", (_, spec) => {
  let base: Folder;
  let adapter: Folder;
  let want: Map<string, Float64Array>;
  beforeAll(async () => {
    base = await model(spec);
    adapter = await adapterFor(base);
    want = await mergedByHand(base, adapter);
  });

  test.each([
    ["f16", 1, "F16"],
    ["bf16", 32, "BF16"],
    ["q8_0", 7, "Q8_0"],
    ["q4_0", 2, "Q4_0"],
  ] as const)("in %s parses, and each tensor is the merged one within its bound", async (quantization, id, type) => {
    const { folder, file, path } = await exported(base, adapter, quantization);
    const { metadata, tensorInfos } = await gguf(path, { allowLocalFile: true });
    const parsed = parseModelConfig((await openCheckpoint(base)).config);
    const qwen3 = spec.model_type === "qwen3";
    const arch = spec.model_type;
    expect(metadata).toMatchObject({
      "general.architecture": arch,
      "general.type": "model",
      "general.name": "my model",
      "general.file_type": id,
      "general.quantization_version": 2,
      [`${arch}.block_count`]: 2,
      [`${arch}.context_length`]: 32768,
      [`${arch}.embedding_length`]: 64,
      [`${arch}.feed_forward_length`]: 160,
      [`${arch}.attention.head_count`]: qwen3 ? 3 : 4,
      [`${arch}.attention.head_count_kv`]: qwen3 ? 1 : 2,
      [`${arch}.rope.freq_base`]: 1e6,
      [`${arch}.attention.layer_norm_rms_epsilon`]: Math.fround(1e-6),
      ...(qwen3 && { "qwen3.attention.key_length": 24, "qwen3.attention.value_length": 24 }),
      "tokenizer.ggml.model": "gpt2",
      "tokenizer.ggml.pre": "qwen2",
      "tokenizer.ggml.eos_token_id": 629,
      "tokenizer.ggml.padding_token_id": 627,
      "tokenizer.ggml.add_bos_token": false,
    });
    expect("qwen2.attention.key_length" in metadata).toBe(false);
    expect(Object.keys(metadata).some((key) => key.includes("rope.scaling"))).toBe(false);
    expect(tensorInfos.map(({ name }) => name).sort()).toEqual(
      [...want.keys()].map((name) => ggufName(parsed, name)).sort(),
    );
    expect(tensorInfos.some(({ name }) => name === "output.weight")).toBe(!spec.tie_word_embeddings);

    const read = await openGgufCheckpoint(folder, file);
    const head = spec.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
    for (const [name, values] of want) {
      const info = tensorInfos.find((one) => one.name === ggufName(parsed, name))!;
      const stored = GGMLQuantizationType[info.dtype];
      const shape = read.weights.get(name)!.shape;
      expect(info.shape).toEqual([...shape].reverse().map(BigInt));
      // 72 = 3 heads of 24 is no whole number of blocks
      const whole = shape.at(-1)! % 32 === 0 || !type.startsWith("Q");
      const matrix = whole ? (type === "Q4_0" && name === head ? "Q8_0" : type) : "F16";
      expect(stored, name).toBe(shape.length === 1 ? "F32" : matrix);
      const got = toFloat32(await read.read(name), read.tensors.get(name)!.dtype);
      expect(got.length).toBe(values.length);
      let worst = 0;
      for (let at = 0; at < values.length; at += 32) {
        const most = Math.max(...values.subarray(at, at + 32).map(Math.abs));
        for (let i = at; i < Math.min(at + 32, values.length); i++) {
          worst = Math.max(worst, Math.abs(got[i] - values[i]) / (BOUNDS[stored](values[i], most) + 1e-7));
        }
      }
      expect(worst, name).toBeLessThanOrEqual(1.001);
      expect(got.some((x) => x !== 0)).toBe(true);
    }
  });

  test("a range of a quantised tensor reads the same values as the whole", async () => {
    const { folder, file } = await exported(base, null, "q8_0");
    const { read, config } = await openGgufCheckpoint(folder, file);
    const name = "model.layers.1.mlp.down_proj.weight";
    const whole = await read(name);
    for (const [start, end] of [
      [0, 4],
      [124, 132],
      [128, 256],
      [40_000, 40_960],
      [4, 40_956],
    ]) {
      expect([...(await read(name, start, end))]).toEqual([...whole.subarray(start, end)]);
    }
    expect(config).toMatchObject({ model_type: spec.model_type, tie_word_embeddings: spec.tie_word_embeddings });
  });
});

test("an adapter changes the file, and the base alone gives the base", async () => {
  const base = await model(QWEN2);
  const { folder, file } = await exported(base, null, "bf16");
  const read = await openGgufCheckpoint(folder, file);
  const checkpoint = await openCheckpoint(base);
  const name = "model.layers.0.self_attn.k_proj.weight";
  expect(await read.read(name)).toEqual(await checkpoint.read(name));
  const other = await exported(base, await adapterFor(base), "bf16");
  expect(await (await openGgufCheckpoint(other.folder, other.file)).read(name)).not.toEqual(
    await checkpoint.read(name),
  );
});

test("the whole tokenizer of Qwen2.5, as llama.cpp's converter writes it", async () => {
  const base = memoryFolder("real");
  await writeRandomCheckpoint(base, { ...SPECS.tiny, hidden_size: 32, num_attention_heads: 2, num_hidden_layers: 1 });
  await copyTokenizer(base);
  const { path } = await exported(base, null, "q8_0");
  const { metadata } = await gguf(path, { allowLocalFile: true });
  const of = (key: string) => metadata[`tokenizer.ggml.${key}` as keyof typeof metadata] as unknown;
  const tokens = of("tokens") as string[];
  const kinds = of("token_type") as number[];
  const json = JSON.parse(await base.readText("tokenizer.json"));
  expect(tokens).toHaveLength(151_936);
  expect(kinds).toHaveLength(151_936);
  for (const [token, id] of Object.entries(json.model.vocab as Record<string, number>).slice(0, 151_643)) {
    if (tokens[id] !== token || kinds[id] !== 1) throw new Error(`${token} is ${tokens[id]}, of kind ${kinds[id]}`);
  }
  expect([tokens[151_643], kinds[151_643]]).toEqual(["<|endoftext|>", 3]);
  expect([tokens[151_645], kinds[151_645]]).toEqual(["<|im_end|>", 3]);
  expect([tokens[151_657], kinds[151_657]]).toEqual(["<tool_call>", 4]); // added, and not special
  expect([tokens[151_664], kinds[151_664]]).toEqual(["<|file_sep|>", 3]); // looks special: as the converter has it
  expect([tokens[151_935], kinds[151_935]]).toEqual(["[PAD151935]", 5]);
  const merges = of("merges") as string[];
  expect(merges).toHaveLength(json.model.merges.length);
  expect(merges[0]).toBe("Ġ Ġ");
  expect(of("bos_token_id")).toBe(151_643); // tokenizer_config has none: config.json's
  expect(of("eos_token_id")).toBe(151_645);
  expect(of("padding_token_id")).toBe(151_643);
  const template = JSON.parse(await base.readText("tokenizer_config.json")).chat_template;
  expect(template.length).toBeGreaterThan(1000);
  expect(metadata["tokenizer.chat_template" as keyof typeof metadata]).toBe(template);
});

describe("differences between models", () => {
  const metadataOf = async (base: Folder) => {
    const { path } = await exported(base, null, "q8_0");
    return (await gguf(path, { allowLocalFile: true })).metadata as unknown as Record<string, unknown>;
  };
  // biome-ignore lint/suspicious/noExplicitAny: JSON is spoilt in many places
  const edit = async (folder: Folder, file: string, change: (json: Record<string, any>) => void) => {
    const json = JSON.parse(await folder.readText(file));
    change(json);
    await folder.write(file, JSON.stringify(json));
  };

  test("YaRN is written", async () => {
    const rope_scaling = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 8192, beta_fast: 24 };
    const base = await model(QWEN2, { rope_scaling });
    const { path, folder, file } = await exported(base, null, "q8_0");
    const { metadata } = await gguf(path, { allowLocalFile: true });
    expect(metadata).toMatchObject({
      "qwen2.rope.scaling.type": "yarn",
      "qwen2.rope.scaling.factor": 4,
      "qwen2.rope.scaling.original_context_length": 8192,
      "qwen2.rope.scaling.yarn_beta_fast": 24,
    });
    expect(metadata).not.toHaveProperty(["qwen2.rope.scaling.yarn_beta_slow"]);
    expect((await openGgufCheckpoint(folder, file)).config.rope_scaling).toMatchObject(rope_scaling);
  });

  test("R1's distillation has its own name and begins with its BOS", async () => {
    const base = await model(QWEN2);
    const bos = "<｜begin▁of▁sentence｜>";
    await edit(base, "tokenizer.json", (json) => (json.added_tokens[0].content = bos));
    await edit(base, "tokenizer_config.json", (json) => {
      json.bos_token = { __type: "AddedToken", content: bos };
      json.add_bos_token = true;
    });
    expect(await metadataOf(base)).toMatchObject({
      "tokenizer.ggml.pre": "deepseek-r1-qwen",
      "tokenizer.ggml.bos_token_id": 627,
      "tokenizer.ggml.add_bos_token": true,
    });
  });

  test("merges may be pairs", async () => {
    const base = await model(QWEN2);
    await edit(base, "tokenizer.json", (json) => {
      json.model.merges = json.model.merges.map((merge: string) => merge.split(" "));
    });
    const merges = (await metadataOf(base))["tokenizer.ggml.merges"] as string[];
    expect(merges.slice(0, 3)).toEqual(["# #", "a n", "a s"]);
  });

  test.each([
    ["no tokenizer", (base: Folder) => base.remove("tokenizer.json"), /it has no tokenizer.json/],
    [
      "another way of cutting",
      (base: Folder) => edit(base, "tokenizer.json", (j) => (j.pre_tokenizer.pretokenizers[0].pattern.Regex = "\\d+")),
      /splits text with \["\\\\d\+"\], but llama.cpp's qwen2 and qwen35 use Qwen's own patterns/,
    ],
    [
      "more tokens than rows",
      (base: Folder) => edit(base, "tokenizer.json", (json) => (json.added_tokens[0].id = 700)),
      /has id 700, but the model has 700 tokens/,
    ],
    [
      "no BPE",
      (base: Folder) => edit(base, "tokenizer.json", (json) => (json.model.type = "WordPiece")),
      /tokenizer.json is "WordPiece", but only byte-level BPE is supported/,
    ],
    [
      "a damaged merge",
      (base: Folder) => edit(base, "tokenizer.json", (json) => (json.model.merges = [["a", "b", "c"]])),
      /merge/,
    ],
  ] as [string, (base: Folder) => Promise<unknown>, RegExp][])("%s is refused", async (_, spoil, message) => {
    const base = await model(QWEN2);
    await spoil(base);
    await expect(exported(base, null, "q8_0")).rejects.toThrow(message);
  });
});

test("refuses a file whose tensors do not match its metadata", async () => {
  const base = await model(QWEN2);
  const { folder, file } = await exported(base, null, "f16");
  const source = await folder.open(file);
  const bytes = await source.read(0, source.size);
  const text = new TextDecoder("latin1").decode(bytes);
  const renamed = bytes.slice();
  renamed.set(new TextEncoder().encode("attn_x.weight"), text.indexOf("blk.1.attn_q.weight") + 6);
  await folder.write("renamed.gguf", renamed);
  await expect(openGgufCheckpoint(folder, "renamed.gguf")).rejects.toThrow(
    /tensor model\.layers\.1\.self_attn\.q_proj\.weight \[64,64\] is missing/,
  );
  const other = bytes.slice();
  other[text.indexOf("qwen2.embedding_length") + 22 + 4] = 48;
  await folder.write("other.gguf", other);
  await expect(openGgufCheckpoint(folder, "other.gguf")).rejects.toThrow(
    /is \[700,64\]; its config.json requires \[700,48\]/,
  );
});
