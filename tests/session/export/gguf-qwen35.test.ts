import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gguf } from "@huggingface/gguf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writeRandomCheckpoint } from "../../../scripts/random-checkpoint.ts";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { toFloat32 } from "../../../src/io/safetensors.ts";
import type { Folder } from "../../../src/io/storage.ts";
import { parseModelConfig } from "../../../src/model/config.ts";
import { type GgufQuantization, ggufMetadata, ggufTensors } from "../../../src/model/files/gguf.ts";
import { nodeFolder } from "../../../src/platform/node/fs.ts";
import { openExport, openGgufCheckpoint, writeExport } from "../../../src/session/export.ts";
import { adapterFor, copyTinyTokenizer, mergedByHand } from "./fixtures.ts";

const [HIDDEN, KEYS, VALUES, DIM] = [64, 2, 6, 32];
const SPEC = {
  model_type: "qwen3_5_text",
  hidden_size: HIDDEN,
  intermediate_size: 96,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  linear_num_key_heads: KEYS,
  linear_num_value_heads: VALUES,
  linear_key_head_dim: DIM,
  linear_value_head_dim: DIM,
  full_attention_interval: 2,
  partial_rotary_factor: 0.5,
  vocab_size: 700,
  tie_word_embeddings: true,
  max_position_embeddings: 256,
  initializer_range: 0.1,
};

const root = mkdtempSync(join(tmpdir(), "gguf-qwen35-"));
afterAll(() => rmSync(root, { recursive: true }));

async function model(config: Record<string, unknown> = {}): Promise<Folder> {
  const folder = memoryFolder("qwen35");
  await writeRandomCheckpoint(folder, { ...SPEC, ...config });
  await copyTinyTokenizer(folder);
  return folder;
}

async function exported(base: Folder, adapter: Folder | null, quantization: GgufQuantization) {
  const out = mkdtempSync(join(root, "out-"));
  const request = { format: "gguf" as const, quantization, name: "m", base: "" };
  const [file] = await writeExport(nodeFolder(out), await openExport(base, adapter), request);
  return { folder: nodeFolder(out), file, path: join(out, file) };
}

/** Value head `h` of the file is this one of the checkpoint: the converter puts each key head's first value head first. */
const checkpointHead = (h: number) => (h % KEYS) * (VALUES / KEYS) + Math.floor(h / KEYS);

describe("Qwen3.5 in GGUF", () => {
  let base: Folder;
  let adapter: Folder;
  let want: Map<string, Float64Array>;
  beforeAll(async () => {
    base = await model();
    adapter = await adapterFor(base);
    want = await mergedByHand(base, adapter);
  });

  test("has llama.cpp's names, metadata and shapes", async () => {
    const { path } = await exported(base, adapter, "q8_0");
    const { metadata, tensorInfos } = await gguf(path, { allowLocalFile: true });
    expect(metadata).toMatchObject({
      "general.architecture": "qwen35",
      "qwen35.block_count": 3,
      "qwen35.attention.key_length": 16,
      "qwen35.attention.value_length": 16,
      "qwen35.rope.dimension_count": 8,
      "qwen35.rope.dimension_sections": [2, 1, 1, 0], // of four frequencies: the published 11, 11, 10 do not fit
      "qwen35.ssm.conv_kernel": 4,
      "qwen35.ssm.state_size": DIM,
      "qwen35.ssm.group_count": KEYS,
      "qwen35.ssm.time_step_rank": VALUES,
      "qwen35.ssm.inner_size": VALUES * DIM,
      "qwen35.full_attention_interval": 2,
      "tokenizer.ggml.pre": "qwen2",
    });
    const shapes = Object.fromEntries(tensorInfos.map(({ name, shape }) => [name, shape.map(Number)]));
    const width = (2 * KEYS + VALUES) * DIM;
    expect(shapes).toMatchObject({
      "blk.0.attn_norm.weight": [HIDDEN],
      "blk.0.post_attention_norm.weight": [HIDDEN],
      "blk.0.attn_qkv.weight": [HIDDEN, width],
      "blk.0.attn_gate.weight": [HIDDEN, VALUES * DIM],
      "blk.0.ssm_alpha.weight": [HIDDEN, VALUES],
      "blk.0.ssm_beta.weight": [HIDDEN, VALUES],
      "blk.0.ssm_conv1d.weight": [4, width],
      "blk.0.ssm_a": [VALUES],
      "blk.0.ssm_dt.bias": [VALUES],
      "blk.0.ssm_norm.weight": [DIM],
      "blk.0.ssm_out.weight": [VALUES * DIM, HIDDEN],
      "blk.1.attn_q.weight": [HIDDEN, 2 * 4 * 16],
      "blk.1.attn_q_norm.weight": [16],
      "blk.1.attn_output.weight": [64, HIDDEN],
    });
    const conv = tensorInfos.find(({ name }) => name === "blk.0.ssm_conv1d.weight")!;
    expect(conv.dtype, "ggml's convolution reads F32").toBe(0);
  });

  test("holds the rewritten values, and reads back as the checkpoint", async () => {
    const { folder, file } = await exported(base, adapter, "f16");
    const config = parseModelConfig((await openCheckpoint(base)).config);
    const made = new Map<string, Float32Array>();
    for (const { name, type, data } of await ggufTensors(await openCheckpoint(base), adapter, "f16")) {
      const parts: Uint8Array[] = [];
      for await (const part of data) parts.push(part);
      made.set(name, toFloat32(new Uint8Array(Buffer.concat(parts)), type as "F32"));
    }
    const source = (name: string) => want.get(`model.layers.0.linear_attn.${name}`)!;
    const close = (got: number, wanted: number) => expect(Math.abs(got - wanted)).toBeLessThan(1e-3);
    for (let h = 0; h < VALUES; h++) {
      const from = checkpointHead(h);
      close(made.get("blk.0.ssm_a")![h], -Math.exp(source("A_log")[from]));
      close(made.get("blk.0.ssm_dt.bias")![h], source("dt_bias")[from]);
      close(made.get("blk.0.ssm_beta.weight")![h * HIDDEN + 5], source("in_proj_b.weight")[from * HIDDEN + 5]);
      for (const d of [0, DIM - 1]) {
        const [row, sourceRow] = [2 * KEYS * DIM + h * DIM + d, 2 * KEYS * DIM + from * DIM + d];
        close(
          made.get("blk.0.attn_qkv.weight")![row * HIDDEN + 7],
          source("in_proj_qkv.weight")[sourceRow * HIDDEN + 7],
        );
        close(made.get("blk.0.ssm_conv1d.weight")![row * 4 + 2], source("conv1d.weight")[sourceRow * 4 + 2]);
        close(
          made.get("blk.0.attn_gate.weight")![(h * DIM + d) * HIDDEN],
          source("in_proj_z.weight")[(from * DIM + d) * HIDDEN],
        );
        const [column, sourceColumn] = [h * DIM + d, from * DIM + d];
        const line = VALUES * DIM;
        close(made.get("blk.0.ssm_out.weight")![9 * line + column], source("out_proj.weight")[9 * line + sourceColumn]);
      }
    }
    for (const row of [0, KEYS * DIM + 3]) {
      close(made.get("blk.0.attn_qkv.weight")![row * HIDDEN], source("in_proj_qkv.weight")[row * HIDDEN]); // queries and keys stay
    }
    close(made.get("blk.0.attn_norm.weight")![3], 1 + want.get("model.layers.0.input_layernorm.weight")![3]);
    close(made.get("blk.0.ssm_norm.weight")![3], source("norm.weight")[3]);

    const read = await openGgufCheckpoint(folder, file);
    expect(parseModelConfig(read.config)).toEqual({ ...config, rms_norm_eps: Math.fround(config.rms_norm_eps) });
    for (const [name, values] of want) {
      const { dtype, shape } = read.tensors.get(name)!;
      const got = toFloat32(await read.read(name), dtype);
      expect([...shape], name).toEqual([...(await openCheckpoint(base)).tensors.get(name)!.shape]);
      const worst = values.reduce((most, x, i) => Math.max(most, Math.abs(got[i] - x)), 0);
      expect(worst, name).toBeLessThan(1e-3);
      const piece = toFloat32(await read.read(name, 8, 24), dtype);
      expect([...piece], name).toEqual([...got.subarray(8 / (dtype === "F32" ? 4 : 2)).subarray(0, piece.length)]);
    }
  });

  test("refuses what llama.cpp cannot express, and says what to do", async () => {
    const types = await model();
    const json = JSON.parse(await types.readText("config.json"));
    delete json.full_attention_interval;
    json.layer_types = ["linear_attention", "full_attention", "linear_attention"];
    await types.write("config.json", JSON.stringify({ ...json, num_hidden_layers: 3 }));
    await exported(types, null, "f16"); // every second
    const uneven = await model({ num_hidden_layers: 5, full_attention_interval: 4 });
    const other = JSON.parse(await uneven.readText("config.json"));
    const metadata = () => ggufMetadata(other, parseModelConfig(other), { name: "m", quantization: "f16" });
    expect(metadata().length).toBeGreaterThan(15);
    other.layer_types[4] = "full_attention";
    expect(metadata).toThrow(
      /layer 4 is full_attention, but llama.cpp has attention in every 4th layer and in no other/,
    );
    const heads = await model({ linear_value_head_dim: 16 });
    await expect(exported(heads, null, "f16")).rejects.toThrow(/one ssm.state_size for both. Export the merged model/);
  });
});
