import { beforeAll, expect, test } from "vitest";
import { writeRandomCheckpoint } from "../../../scripts/random-checkpoint.ts";
import { openGguf } from "../../../src/io/gguf/read.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { readAdapter, writeAdapter } from "../../../src/io/peft.ts";
import { toFloat32 } from "../../../src/io/safetensors.ts";
import type { Folder } from "../../../src/io/storage.ts";
import { encodeGgufLora, openExport } from "../../../src/session/export.ts";
import { TINY } from "../../train/fixtures.ts";
import { ALPHA, adapterFor, R } from "./fixtures.ts";

let model: Folder;
beforeAll(async () => {
  model = memoryFolder("base");
  await writeRandomCheckpoint(model, { ...TINY, vocab_size: 640 });
});

async function written(adapter: Folder) {
  const { checkpoint } = await openExport(model, adapter);
  const folder = memoryFolder("out");
  await folder.write("lora.gguf", await encodeGgufLora(checkpoint, adapter, "mine"));
  const source = await folder.open("lora.gguf");
  const file = await openGguf(source);
  const read = async (name: string) => {
    const { begin, end } = file.tensors.get(name)!;
    return toFloat32(await source.read(begin, end), "F32");
  };
  return { file, read };
}

test.each([false, true])("llama.cpp's product equals PEFT's, rsLoRA %s", async (use_rslora) => {
  const adapter = await adapterFor(model, { use_rslora });
  const { file, read } = await written(adapter);
  const meta = (key: string) => file.metadata.get(key);
  expect([
    meta("general.architecture"),
    meta("general.type"),
    meta("adapter.type"),
    meta("adapter.lora.alpha"),
  ]).toEqual(["qwen2", "adapter", "lora", ALPHA]);
  const peft = await readAdapter(adapter);
  const [a, b] = [await read("blk.1.attn_q.weight.lora_a"), await read("blk.1.attn_q.weight.lora_b")];
  const own = (part: string) => peft.read(`base_model.model.model.layers.1.self_attn.q_proj.lora_${part}.weight`);
  expect(a).toEqual(await own("A"));
  // llama-adapter.cpp: scale = alpha / rank
  const scale = ALPHA / (use_rslora ? Math.sqrt(R) : R);
  const expected = (await own("B")).map((value) => value * scale);
  for (const [i, value] of b.entries()) expect((value * ALPHA) / R).toBeCloseTo(expected[i], 5);
  expect(file.tensors.size).toBe(peft.tensors.size);
  expect(file.tensors.get("blk.1.attn_q.weight.lora_a")!.shape).toEqual([R, TINY.hidden_size]);
});

test("refuses what llama.cpp has no place for", async () => {
  const adapter = await adapterFor(model);
  const { config, tensors, read } = await readAdapter(adapter);
  const list = [];
  for (const [name, { shape }] of tensors) list.push({ name, shape, data: await read(name) });
  const { checkpoint } = await openExport(model, adapter);
  const dora = memoryFolder("dora");
  const magnitudes = list
    .filter(({ name }) => name.includes("lora_B"))
    .map(({ name, shape }) => ({
      name: name.replace("lora_B.weight", "lora_magnitude_vector"),
      shape: [shape[0]],
      data: new Float32Array(shape[0]).fill(1),
    }));
  await writeAdapter(dora, { ...config, use_dora: true }, [...list, ...magnitudes]);
  await expect(encodeGgufLora(checkpoint, dora, "m")).rejects.toThrow(/llama.cpp has no DoRA.*as gguf instead/);
  const table = memoryFolder("table");
  await writeAdapter(table, { ...config, modules_to_save: ["embed_tokens"] }, [
    ...list,
    { name: "base_model.model.model.embed_tokens.weight", shape: [2, 2], data: new Float32Array(4) },
  ]);
  await expect(encodeGgufLora(checkpoint, table, "m")).rejects.toThrow(/it also trains the embedding or the head/);
});
