import { describe, expect, test } from "vitest";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { readAdapter, writeAdapter } from "../../../src/io/peft.ts";
import { encodeSafetensors, f32ToBf16, openSafetensors, toFloat32 } from "../../../src/io/safetensors.ts";
import { mergedTensors } from "../../../src/model/files/merge.ts";
import { integers, tinyModel } from "../../train/fixtures.ts";

const R = 3;
const TARGET = "model.layers.1.self_attn.v_proj.weight";
const name = (layer: number, matrix: string) =>
  `base_model.model.model.layers.${layer}.self_attn.v_proj.${matrix}.weight`;

async function adapterFor(hidden: number, out: number) {
  const next = integers(5);
  const random = (count: number) => Float32Array.from({ length: count }, () => next(2000) / 1000 - 1);
  const folder = memoryFolder("adapter");
  const config = {
    r: R,
    lora_alpha: 6,
    lora_dropout: 0,
    target_modules: ["v_proj"],
    use_rslora: true,
    base_model_name_or_path: "",
  };
  const tensors = [0, 1].flatMap((layer) => [
    { name: name(layer, "lora_A"), shape: [R, hidden], data: random(R * hidden) },
    { name: name(layer, "lora_B"), shape: [out, R], data: random(R * out) },
  ]);
  await writeAdapter(folder, config, tensors);
  return folder;
}

describe("a merged model", () => {
  test("is W + s·B·A in the base's dtype, and the base for all other tensors", async () => {
    const base = await openCheckpoint(await tinyModel());
    const [out, hidden] = base.tensors.get(TARGET)!.shape;
    const adapterFolder = await adapterFor(hidden, out);
    const merged = memoryFolder("merged");
    const tensors = (await mergedTensors(base, adapterFolder)).map((t) => ({ ...t, data: t.bytes(t.dtype) }));
    await merged.write("model.safetensors", encodeSafetensors(tensors));
    const file = await openSafetensors(await merged.open("model.safetensors"));

    expect([...file.tensors.keys()].sort()).toEqual([...base.tensors.keys()].sort());
    const other = "model.layers.1.self_attn.q_proj.weight";
    expect(await file.read(other)).toEqual(await base.read(other));

    const adapter = await readAdapter(adapterFolder);
    const [a, b] = [await adapter.read(name(1, "lora_A")), await adapter.read(name(1, "lora_B"))];
    const w = toFloat32(await base.read(TARGET), "BF16");
    const wanted = new Float32Array(w.length);
    for (let i = 0; i < out; i++) {
      for (let j = 0; j < hidden; j++) {
        let sum = 0;
        for (let k = 0; k < R; k++) sum += b[i * R + k] * a[k * hidden + j];
        wanted[i * hidden + j] = w[i * hidden + j] + (6 / Math.sqrt(R)) * sum;
      }
    }
    const got = toFloat32(await file.read(TARGET), "BF16");
    const rounded = toFloat32(new Uint8Array(f32ToBf16(wanted).buffer), "BF16");
    for (const [i, value] of got.entries()) {
      // the last bit of bf16 may differ if the sum was rounded in another order
      expect(Math.abs(value - rounded[i]) <= Math.abs(rounded[i]) * 2 ** -7).toBe(true);
    }
    expect(got).not.toEqual(w);
  });

  test("refuses an adapter for another base", async () => {
    const base = await openCheckpoint(await tinyModel());
    await expect(mergedTensors(base, await adapterFor(32, 32))).rejects.toThrow(/adapter is for another base/);
  });
});
