import { describe, expect, it } from "vitest";
import { UnsupportedError } from "../../../src/errors.ts";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { readAdapter, writeAdapter } from "../../../src/io/peft.ts";
import { relativeError } from "../../../src/kernels/check.ts";
import { doubledConfig, startPissa } from "../../../src/model/adapters/pissa.ts";
import { targetsOf } from "../../../src/model/adapters/targets.ts";
import { parseModelConfig } from "../../../src/model/config.ts";
import { fillAdapter, initAdapter, loadModel, openAdapterFor } from "../../../src/model/files/load.ts";
import { writeMerged } from "../../../src/model/files/write-merged.ts";
import { uniformFrom } from "../../../src/train/seed.ts";
import { useGpu } from "../../kernels/harness.ts";
import { contents, learnt, recipeOf, tinyModel, train } from "../../train/fixtures.ts";

const gpu = useGpu();
const ids = [3, 1, 4, 1, 5, 9, 2, 6];
const batch = { input_ids: ids, position_ids: ids.map((_, i) => i), cu_seqlens: [0, ids.length] };
/** In f32, so that the residual base is not rounded. */
const PISSA = {
  dtype: "float32",
  init_lora_weights: "pissa",
  lora_dropout: 0.1,
  learning_rate: 2e-3,
  rank_pattern: { q_proj: 8 },
  max_steps: 6,
};

describe("init_lora_weights pissa", () => {
  it.each([
    ["LoRA", { use_rslora: true }],
    ["DoRA", { use_dora: true, lora_dropout: 0 }],
  ])(
    "%s trains over the residual base; the saved adapter gives the same model over the published base",
    async (_, more) => {
      const recipe = recipeOf({ ...PISSA, ...more });
      const model = await tinyModel();
      const { trainee, output } = await train(gpu(), { recipe, model });
      const want = await trainee.model.logits(batch);
      const checkpoint = await openCheckpoint(model);
      const config = parseModelConfig(checkpoint.config);
      const { adapter, lora } = await openAdapterFor(config, output);
      const base = await loadModel(gpu(), checkpoint);
      expect(relativeError(await base.logits(batch), want)).toBeGreaterThan(0.01);
      expect(lora).toMatchObject({ r: 8, rank_pattern: { q_proj: 16 } });
      const again = await loadModel(gpu(), checkpoint, { trained: { lora } });
      await fillAdapter(gpu(), again, adapter);
      expect(relativeError(await again.logits(batch), want)).toBeLessThan(1e-5);
      const merged = memoryFolder("merged");
      await writeMerged(merged, checkpoint, output, { dtype: "F32" });
      const whole = await loadModel(gpu(), await openCheckpoint(merged));
      expect(relativeError(await whole.logits(batch), want)).toBeLessThan(1e-5);
    },
  );

  it("starts as the base does, and resumes exactly", async () => {
    const recipe = recipeOf({ ...PISSA, save_strategy: "steps", save_steps: 3 });
    const model = await tinyModel();
    const straight = await train(gpu(), { recipe, model });
    const output = memoryFolder("out");
    const onEvent = (event: { type: string; step?: number }) => event.type === "step" && event.step === 4;
    const first = await train(gpu(), { recipe, model, output, onEvent });
    const second = await train(gpu(), { recipe, model, output, resume: true });
    expect(second.events[0]).toEqual({ type: "start", max_steps: 6, global_step: 3 });
    const before = first.logs.filter(({ step }) => step <= 3);
    expect(learnt([...before, ...second.logs])).toEqual(learnt(straight.logs));
    const name = "adapter_model.safetensors";
    expect((await contents(output))[name]).toBe((await contents(straight.output))[name]);
    const plain = await train(gpu(), { recipe: recipeOf({ max_steps: 1, lora_dropout: 0 }), model });
    const pissa = await train(gpu(), { recipe: recipeOf({ ...PISSA, max_steps: 1, lora_dropout: 0 }), model });
    const [a, b] = [plain, pissa].map(({ logs }) => logs[0].loss as number);
    expect(Math.abs(a / b - 1)).toBeLessThan(1e-5);
    // the reference of a preference run is the model before training, not the base without its singular values
    const base = await loadModel(gpu(), await openCheckpoint(model));
    const config = parseModelConfig((await openCheckpoint(model)).config);
    const lora = { r: 4, lora_alpha: 8, lora_dropout: 0, use_rslora: false, target_modules: ["q_proj", "down_proj"] };
    const start = await startPissa(await openCheckpoint(model), targetsOf(config, lora));
    const options = { dtype: "float32" as const, trained: { lora }, residuals: start.residuals };
    const fresh = await loadModel(gpu(), await openCheckpoint(model), options);
    initAdapter(gpu(), fresh, uniformFrom(1), start.matrices);
    expect(pissa.prepared.continued).toBe(true);
    const reference = fresh.withFrozenAdapter();
    const want = await base.logits(batch);
    expect(relativeError(await reference.logits(batch), want)).toBeLessThan(1e-5);
    expect(relativeError(await fresh.withoutAdapter().logits(batch), want)).toBeGreaterThan(0.01);
  });

  it("an adapter that PEFT saved over the residual base is read as plain LoRA over the published one", async () => {
    const recipe = recipeOf(PISSA);
    const model = await tinyModel();
    const { trainee, output } = await train(gpu(), { recipe, model });
    const { store } = trainee.model;
    const tensors = store!.split(await gpu().read(store!.values));
    const over = memoryFolder("over the residual");
    await writeAdapter(over, { ...trainee.lora!, base_model_name_or_path: "tiny" }, tensors);
    const json = JSON.parse(await over.readText("adapter_config.json"));
    await over.write("adapter_config.json", JSON.stringify({ ...json, init_lora_weights: "pissa" }));
    const checkpoint = await openCheckpoint(model);
    const config = parseModelConfig(checkpoint.config);
    const { adapter: read, lora } = await openAdapterFor(config, over, checkpoint);
    expect(lora).toEqual((await openAdapterFor(config, output)).lora); // plain: what goes on from it is saved as plain LoRA
    const saved = await readAdapter(output);
    expect([...read.tensors.keys()].sort()).toEqual([...saved.tensors.keys()].sort());
    for (const name of saved.tensors.keys()) expect(await read.read(name)).toEqual(await saved.read(name));
    await expect(openAdapterFor(config, over)).rejects.toThrow(UnsupportedError);
  });

  it("doubles ranks and keeps factors", () => {
    const config = { r: 4, lora_alpha: 6, lora_dropout: 0, target_modules: ["q_proj"], alpha_pattern: { q_proj: 3 } };
    expect(doubledConfig({ ...config, use_rslora: false })).toMatchObject({
      r: 8,
      lora_alpha: 12,
      alpha_pattern: { q_proj: 6 },
    });
    const { r, lora_alpha } = doubledConfig({ ...config, use_rslora: true });
    expect(lora_alpha / Math.sqrt(r)).toBeCloseTo(6 / 2, 12);
  });
});
