import { beforeAll, describe, expect, it } from "vitest";
import type { Gpu } from "../../../src/gpu/device.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import type { Folder } from "../../../src/io/storage.ts";
import { dropAdapter, loadAdapter, setAdapter } from "../../../src/model/adapters/loaded.ts";
import { type LoraConfig, loraName } from "../../../src/model/adapters/lora.ts";
import { changesTower, targetModules, targetsOf, withTower } from "../../../src/model/adapters/targets.ts";
import { towerModules } from "../../../src/model/architectures/tensors.ts";
import { parseModelConfig } from "../../../src/model/config.ts";
import { initAdapter, loadModel } from "../../../src/model/files/load.ts";
import { openModel } from "../../../src/model/files/open.ts";
import { saveAdapter } from "../../../src/model/files/save.ts";
import { writeMerged } from "../../../src/model/files/write-merged.ts";
import { shiftedTargets, type Transformer } from "../../../src/model/transformer.ts";
import { uniformFrom } from "../../../src/train/seed.ts";
import { seeingModel } from "../../images.ts";
import { useGpu } from "../../kernels/harness.ts";
import { visionConfig } from "./fixtures.ts";

const gpu = useGpu();
const NAMES = ["attn.qkv", "attn.proj", "mlp.linear_fc1", "mlp.linear_fc2", "merger.linear_fc1", "merger.linear_fc2"];

function loraOf(target_modules: readonly string[], r = 4): LoraConfig {
  return { r, lora_alpha: 2 * r, lora_dropout: 0, use_rslora: false, target_modules };
}

/** Two sequences: an image of 2 × 3 tokens with text, and one of a single token. */
function batchOf(image: number) {
  const draw = uniformFrom(8);
  const ids = [3, ...Array<number>(6).fill(image), 5, 9, 11, 4, image, 7, 2];
  const grids = [
    [1, 4, 6],
    [1, 2, 2],
  ] as const;
  const pixels = Float32Array.from({ length: (24 + 4) * 3 * 2 * 8 * 8 }, () => 2 * draw() - 1);
  const batch = {
    input_ids: ids,
    position_ids: ids.map((_, t) => (t < 10 ? t : t - 10)),
    cu_seqlens: [0, 10, 14],
    images: { pixels, grids },
  };
  return { batch, targets: shiftedTargets(batch, ids.map((id) => (id === image ? -100 : id))) }; // biome-ignore format: a line
}

/** The loss of a batch, and the gradients of all trained parameters by name. */
async function learn(device: Gpu, model: Transformer, { batch, targets }: ReturnType<typeof batchOf>) {
  const store = model.store!;
  const record = device.recorder();
  store.clearGrads(record);
  const read = record.scope(() => {
    const rows = model.run(record, batch, targets, {}, (r, _rows, _start, count) =>
      r.upload(new Float32Array(count).fill(-1), [count], "d.objective"),
    )!;
    return { logp: record.read(rows.logp), grads: store.shards.map(({ grads }) => record.read(grads)) };
  });
  record.submit();
  const loss = -new Float32Array(await read.logp).reduce((sum, value) => sum + value, 0);
  const split = store.split(await Promise.all(read.grads));
  return { loss, grads: new Map(split.map(({ name, data }) => [name, data])) };
}

function expectClose(got: Float32Array, want: Float64Array, what: string): void {
  const largest = want.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  expect(largest, `${what} has a gradient`).toBeGreaterThan(0);
  const off = got.reduce((most, value, i) => Math.max(most, Math.abs(value - want[i])), 0);
  expect(off / largest, what).toBeLessThan(5e-4);
}

describe("LoRA on the vision tower", () => {
  let folder: Folder;
  let adapter: Folder;
  let saved: { model: Transformer; lora: LoraConfig };

  beforeAll(async () => {
    folder = await seeingModel();
    const { checkpoint, config } = await openModel(folder);
    const lora = loraOf(withTower(config, targetModules(config, "all-linear")));
    const model = await loadModel(gpu(), checkpoint, { trained: { lora }, vision: true });
    initAdapter(gpu(), model, uniformFrom(3));
    const draw = uniformFrom(4);
    for (const { name, size } of model.store!.parameters) {
      if (!name.includes("lora_B")) continue;
      model.store!.write(
        gpu(),
        name,
        Float32Array.from({ length: size }, () => 0.2 * (draw() - 0.5)),
      );
    }
    adapter = memoryFolder("adapter");
    await saveAdapter(adapter, model, lora, "seeing");
    saved = { model, lora };
  });

  it("has the gradients that the merged weights' gradients imply, for every layer of the tower", async () => {
    const { checkpoint, config } = await openModel(folder);
    const merged = memoryFolder("merged");
    await writeMerged(merged, checkpoint, adapter, { dtype: "F32" });
    const whole = await loadModel(gpu(), (await openModel(merged)).checkpoint, { trained: "all", vision: true });
    const data = batchOf(config.vision!.image_token_id);
    const [own, full] = [await learn(gpu(), saved.model, data), await learn(gpu(), whole, data)];
    expect(own.loss / full.loss).toBeCloseTo(1, 5);
    const values = new Map<string, Float32Array>();
    const store = saved.model.store!;
    const read = await Promise.all(store.shards.map((shard) => gpu().read(shard.values)));
    for (const { name, data: value } of store.split(read)) values.set(name, value);
    const targets = targetsOf(config, saved.lora).filter(({ path }) => path.startsWith("model.visual."));
    expect(targets).toHaveLength(2 * 4 + 2);
    for (const target of targets) {
      const { out, inner, r, scale, path } = target;
      const dw = full.grads.get(`${path}.weight`)!;
      const [nameA, nameB] = [loraName(target, "lora_A"), loraName(target, "lora_B")];
      const [a, b] = [values.get(nameA)!, values.get(nameB)!];
      const [dA, dB] = [new Float64Array(r * inner), new Float64Array(out * r)];
      for (let i = 0; i < out; i++) {
        for (let k = 0; k < r; k++) {
          for (let j = 0; j < inner; j++) {
            dA[k * inner + j] += scale * b[i * r + k] * dw[i * inner + j];
            dB[i * r + k] += scale * dw[i * inner + j] * a[k * inner + j];
          }
        }
      }
      expectClose(own.grads.get(nameA)!, dA, nameA);
      expectClose(own.grads.get(nameB)!, dB, nameB);
    }
  });

  it("is saved under PEFT's names, and reads as it was trained; without it the base's features are back", async () => {
    const { checkpoint, config } = await openModel(folder);
    const model = await loadModel(gpu(), checkpoint, { vision: true });
    const { batch } = batchOf(config.vision!.image_token_id);
    const before = await model.logits(batch);
    const loaded = await loadAdapter(model, adapter, checkpoint);
    expect(model.tower!.adapterKey).toBeNull();
    setAdapter(model, loaded);
    expect(model.tower!.adapterKey).toMatch(/^[0-9a-f]{64}$/);
    const wanted = await saved.model.logits(batch);
    const made = await model.logits(batch);
    expect(made.reduce((most, value, i) => Math.max(most, Math.abs(value - wanted[i])), 0)).toBeLessThan(1e-4);
    expect(made.some((value, i) => Math.abs(value - before[i]) > 1e-2)).toBe(true);
    setAdapter(model, null);
    expect(model.tower!.adapterKey).toBeNull();
    expect(await model.logits(batch)).toEqual(before);
    await dropAdapter(loaded);
    const json = JSON.parse(await adapter.readText("adapter_config.json"));
    expect(json.target_modules.slice(-6)).toEqual(NAMES);
    const names = saved.model.store!.parameters.map(({ name }) => name);
    expect(names).toContain("base_model.model.model.visual.blocks.1.attn.proj.lora_A.weight");
    expect(names).toContain("base_model.model.model.visual.merger.linear_fc2.lora_B.weight");
    expect(names.filter((name) => name.includes("patch_embed"))).toEqual([]);

    // a model without its tower runs with the rest of the adapter
    const blind = await loadModel(gpu(), checkpoint);
    setAdapter(blind, await loadAdapter(blind, adapter, checkpoint));
    const text = { input_ids: [3, 5, 9], position_ids: [0, 1, 2], cu_seqlens: [0, 3] };
    setAdapter(model, await loadAdapter(model, adapter, checkpoint));
    expect(await blind.logits(text)).toEqual(await model.logits(text));
  });
});

describe("target modules", () => {
  it("mean the language model's layers unless the tower's are named", () => {
    const config = parseModelConfig(visionConfig());
    const language = targetModules(config, "all-linear") as string[];
    expect(changesTower(config, loraOf(language))).toBe(false);
    expect(withTower(config, language)).toEqual([...language, ...NAMES]);
    const targets = targetsOf(config, loraOf(withTower(config, language)));
    expect(targets.slice(-10).map(({ path }) => path)).toEqual(towerModules(config).map(({ path }) => path));
    expect(changesTower(config, loraOf(["attn.qkv"]))).toBe(true);
    const { vision_config: _, ...blind } = visionConfig();
    expect(() => withTower(parseModelConfig(blind), language)).toThrow("has no vision tower");
    expect(() => withTower(config, ".*_proj")).toThrow("a regular expression must name the tower's layers");
  });
});
